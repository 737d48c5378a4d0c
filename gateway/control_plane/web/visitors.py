"""The visitor of a page: Litestar's JWT cookie, but being signed out is not an error.

Public pages and the console identify visitors the same way; only the console requires one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from jwt import InvalidSignatureError
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.middleware.authentication import AuthenticationResult
from litestar.security.jwt import JWTCookieAuth, Token
from litestar.security.jwt.middleware import JWTCookieAuthenticationMiddleware
from litestar.types import ASGIApp, Guard, Message, Receive, Scope, Send

from gateway.control_plane.accounts.rights import Right
from gateway.control_plane.accounts.sessions import ALGORITHM, Sessions, Visitor
from gateway.control_plane.web.cookies import HostCookie
from gateway.errors import GatewayError, NotFound
from gateway.storage.database import DatabaseAway

SESSION = "session"
"""The name of the cookie."""

VIEW_END = "/console/view/end"
"""The address that ends a view as a customer."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_WHILE_VIEWING = (VIEW_END, "/sign-out")
_FRESH = "fresh_session_cookie"
_UNREAD = "session_unread"
_ENDED = "session_ended"


class SignInNeeded(GatewayError):
    """A page for visitors who are signed in."""

    status = 401
    type = "authentication_error"
    code = "sign_in_needed"


class PageNotFound(NotFound):
    """There is no page at this address, or none that this visitor may see."""

    code = "page_not_found"


class ViewingOnly(GatewayError):
    """An operator who views the console as a customer can't change anything."""

    status = 403
    type = "permission_error"
    code = "viewing_only"


class SessionToken(Token):
    """A session's token, which may be issued ahead of this machine's clock.

    Another process may have issued it, whose clock differs; the session's row says when it began.
    While secrets are rotated, it may also be signed with another secret than the first.
    """

    others: ClassVar[tuple[str, ...]] = ()
    """The secrets other than the first."""

    @classmethod
    def decode_payload(cls, encoded_token: str, secret: str, *args: Any, **more: Any) -> Any:
        """Verify everything except when it was issued, and return the claims."""
        more["options"] = {**(more.get("options") or {}), "verify_iat": False}
        try:
            payload = super().decode_payload(encoded_token, secret, *args, **more)
        except InvalidSignatureError:
            payload = cls._of_another(encoded_token, *args, **more)
        payload["iat"] = min(payload["iat"], int(time.time()))  # noqa: TID251 - which Litestar asks
        return payload

    @classmethod
    def _of_another(cls, encoded_token: str, *args: Any, **more: Any) -> Any:
        for secret in cls.others:
            with suppress(InvalidSignatureError):
                return super().decode_payload(encoded_token, secret, *args, **more)
        raise InvalidSignatureError


class SignedInOrNot(JWTCookieAuthenticationMiddleware):
    """Litestar's middleware, but a missing or invalid cookie just means a signed-out visitor."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the visitor of the session cookie, or none; headers are not accepted.

        While the database is down there is none, so the public pages still work.
        """
        encoded = connection.cookies.get(self.auth_cookie_key)
        if not encoded:
            return AuthenticationResult(user=None, auth=None)
        try:
            return await self.authenticate_token(encoded, connection)
        except NotAuthorizedException:
            return AuthenticationResult(user=None, auth=None)
        except DatabaseAway as error:
            connection.scope["state"][_UNREAD] = error
            return AuthenticationResult(user=None, auth=None)


class FreshCookieMiddleware(ASGIMiddleware):
    """Sends the rotated session cookie, if the session was rotated."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, cookie: HostCookie) -> None:
        self._cookie = cookie

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, and add the cookie to its answer."""

        async def send_with_cookie(message: Message) -> None:
            fresh = scope["state"].get(_FRESH)
            if fresh and message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                # a page that signs in or out sets its own
                if self._cookie.name not in " ".join(headers.getall("set-cookie", [])):
                    cookie = self._cookie.holding(fresh)
                    headers.add("set-cookie", cookie.to_header(header=""))
            await send(message)

        await next_app(scope, receive, send_with_cookie)


def authentication(sessions: Sessions, cookie: HostCookie) -> JWTCookieAuth[Visitor, Token]:
    """Make the configuration of the pages' router."""

    async def find_visitor(
        token: Token, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> Visitor | None:
        found = await sessions.read(str(token.jti), int(token.extras.get("generation", 0)))
        if found is None:
            connection.scope["state"][_ENDED] = True
            return None
        visitor, fresh = found
        connection.scope["state"][_FRESH] = fresh
        return visitor

    class _OurToken(SessionToken):
        others = sessions.secret.all[1:]

    return JWTCookieAuth[Visitor, Token](
        token_secret=sessions.secret.first,
        retrieve_user_handler=find_visitor,
        algorithm=ALGORITHM,
        key=cookie.name,
        token_cls=_OurToken,
        authentication_middleware_class=SignedInOrNot,
        exclude_http_methods=["OPTIONS"],
    )


def must_be_read(scope: Scope) -> None:
    """Require that the session could be read. Raises DatabaseAway."""
    error: DatabaseAway | None = scope["state"].get(_UNREAD)
    if error is not None:
        raise error


def seems_signed_in(cookies: Mapping[str, str]) -> bool:
    """Tell whether a browser sent a session cookie, valid or not."""
    return bool(cookies.get(SESSION) or cookies.get(f"__Host-{SESSION}"))


def was_signed_in(scope: Scope) -> bool:
    """Tell whether the browser sent a cookie of ours whose session has ended."""
    return bool(scope.get("state", {}).get(_ENDED))


def is_read(scope: Scope) -> bool:
    """Tell whether the session was read."""
    return "user" in dict(scope) and scope["state"].get(_UNREAD) is None


def provide_visitor(request: Request[Any, Any, Any]) -> Visitor:
    """Return the visitor, behind the guard `signed_in`."""
    assert isinstance(request.user, Visitor)
    return request.user


def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let in visitors who are signed in. Raises SignInNeeded, DatabaseAway."""
    must_be_read(connection.scope)
    if connection.user is None:
        raise SignInNeeded("Sign in to see this page.")


def not_while_viewing(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Refuse changes while an operator views the console as a customer.

    The back office itself still acts for the operator. Raises ViewingOnly.
    """
    scope: dict[str, Any] = dict(connection.scope)
    visitor: Visitor | None = scope.get("user")
    path: str = scope["path"]
    if visitor is None or visitor.viewing_until is None or scope["method"] in _SAFE:
        return
    if path not in _WHILE_VIEWING and not path.startswith("/admin/"):
        raise ViewingOnly(
            "You are viewing this as a customer, so nothing was done. End the view first."
        )


def having(right: Right) -> Guard:
    """Make a guard that lets in visitors whose role gives them a right, behind `signed_in`.

    It raises PageNotFound.
    """

    def check(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        if connection.user is None or not connection.user.may(right):
            raise PageNotFound("There is nothing here.")

    return check


owner = having("members")
"""Lets in owners."""
