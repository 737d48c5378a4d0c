"""What a browser went to GitHub for: a signed cookie, valid for ten minutes.

GitHub's answer counts only together with this cookie, so a sign-in that someone else began can't
sign a visitor in, or connect GitHub to their account.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from datetime import timedelta

import msgspec
from litestar.datastructures import Cookie
from litestar.exceptions import NotAuthorizedException
from litestar.security.jwt import Token

from gateway import wall
from gateway.control_plane.accounts.github import GithubRefused
from gateway.control_plane.accounts.sessions import ALGORITHM
from gateway.control_plane.web.cookies import HostCookie
from gateway.keyring import Keyring

_MINUTES = 10


class OAuthState:
    """Makes and reads the cookies of browsers that are away at GitHub."""

    def __init__(self, *, secret: Keyring, secure: bool) -> None:
        self._secret = secret
        self.cookie = HostCookie("github", secure=secure, seconds=60 * _MINUTES)

    def begin(self, journey: Journey) -> tuple[str, Cookie]:
        """Return a new state, and the cookie that remembers it."""
        state = secrets.token_urlsafe(32)
        until = wall.now() + timedelta(minutes=_MINUTES)
        token = Token(sub=state, exp=until, extras=msgspec.structs.asdict(journey))
        return state, self.cookie.holding(token.encode(self._secret.first, ALGORITHM))

    def end(self, cookie: str, state: str) -> Journey:
        """Return what a browser went to GitHub for. Raises GithubRefused for another's state."""
        token = None
        for secret in self._secret.all:
            with suppress(NotAuthorizedException):
                token = token or Token.decode(cookie, secret, ALGORITHM)
        if token is None or not hmac.compare_digest(token.sub.encode(), state.encode()):
            raise GithubRefused(
                "This sign-in was begun in another browser, or too long ago. Start it again."
            )
        return msgspec.convert(token.extras, Journey)


class Journey(msgspec.Struct, frozen=True):
    """To sign in and go on to `path`; or to connect GitHub to the account of `user_id`."""

    path: str
    user_id: str = ""
