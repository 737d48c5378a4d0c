"""What a browser is away at GitHub for: a cookie of its own, signed and good for ten minutes.

What GitHub sends back counts only together with it, so nobody can be signed in, or connected to an
account, by a link that somebody else began.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime, timedelta

import msgspec
from litestar.datastructures import Cookie
from litestar.exceptions import NotAuthorizedException
from litestar.security.jwt import Token

from gateway.control_plane.accounts.github import GithubRefused
from gateway.control_plane.accounts.sessions import ALGORITHM
from gateway.settings import derive

_MINUTES = 10


class Errand(msgspec.Struct, frozen=True):
    """To sign in and go on to a page; or, for a user who is signed in, to be connected."""

    path: str
    user_id: str = ""


class Errands:
    """The cookies of browsers that are away at GitHub."""

    def __init__(self, secret: str, *, secure: bool) -> None:
        self._secret = derive(secret, "github")
        self._secure = secure
        self.name = "__Host-github" if secure else "github"

    def begin(self, errand: Errand) -> tuple[str, Cookie]:
        """Return a new state, and the cookie that remembers it."""
        state = secrets.token_urlsafe(32)
        until = datetime.now(UTC) + timedelta(minutes=_MINUTES)
        token = Token(sub=state, exp=until, extras=msgspec.structs.asdict(errand))
        return state, self._cookie(token.encode(self._secret, ALGORITHM), 60 * _MINUTES)

    def end(self, cookie: str, state: str) -> Errand:
        """Return what a browser went for. Raises GithubRefused when it is another's."""
        try:
            token = Token.decode(cookie, self._secret, ALGORITHM)
        except NotAuthorizedException:
            token = None
        if token is None or not hmac.compare_digest(token.sub.encode(), state.encode()):
            raise GithubRefused(
                "This sign-in was begun in another browser, or too long ago. Begin it once more."
            )
        return msgspec.convert(token.extras, Errand)

    def empty(self) -> Cookie:
        """Return the cookie that removes it."""
        return self._cookie("", 0)

    def _cookie(self, value: str, max_age: int) -> Cookie:
        return Cookie(
            key=self.name,
            value=value,
            max_age=max_age,
            httponly=True,
            secure=self._secure,
            samesite="lax",  # GitHub sends the browser back by a link: strict would lose it
        )
