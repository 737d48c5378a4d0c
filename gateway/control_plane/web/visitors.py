"""Who looks at a page: Litestar's JWT cookie, where being signed out is no error.

Public pages and the console share one way to know somebody; only the console insists on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control_plane.accounts.sessions import ALGORITHM, Sessions, Visitor
from gateway.control_plane.web.cookies import HostCookie
from gateway.errors import GatewayError, NotFound
from gateway.storage.database import DatabaseAway

SESSION = "session"
"""The name of the cookie."""

_FRESH = "fresh_session_cookie"
_UNREAD = "session_unread"


class SignInNeeded(GatewayError):
    """A page that only somebody can see."""

    status = 401
    type = "authentication_error"
    code = "sign_in_needed"


class PageNotFound(NotFound):
    """Nothing is at this address, or nothing that this visitor may see."""

    code = "page_not_found"


class SignedInOrNot(JWTCookieAuthenticationMiddleware):
    """Litestar's middleware, for which no cookie or a bad one means: nobody."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return who it is, or nobody. Nothing but the cookie counts: no header signs in.

        While the database is away, whoever it is sees the pages that are for everybody.
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
    """Hands out the cookie that replaces the last one, when there is one."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, cookie: HostCookie) -> None:
        self._cookie = cookie

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, and add the cookie to its answer."""

        async def send_with_cookie(message: Message) -> None:
            fresh = scope["state"].get(_FRESH)
            if fresh and message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                # a page that signs in or out has the last word
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
            return None
        visitor, fresh = found
        connection.scope["state"][_FRESH] = fresh
        return visitor

    return JWTCookieAuth[Visitor, Token](
        token_secret=sessions.secret,
        retrieve_user_handler=find_visitor,
        algorithm=ALGORITHM,
        key=cookie.name,
        authentication_middleware_class=SignedInOrNot,
        exclude_http_methods=["OPTIONS"],
    )


def must_be_read(scope: Scope) -> None:
    """Insist that who asks is known, be it nobody. Raises DatabaseAway."""
    error: DatabaseAway | None = scope["state"].get(_UNREAD)
    if error is not None:
        raise error


def seems_signed_in(cookies: Mapping[str, str]) -> bool:
    """Tell whether a browser holds a session's cookie; only its session says whether it counts."""
    return bool(cookies.get(SESSION) or cookies.get(f"__Host-{SESSION}"))


def is_read(scope: Scope) -> bool:
    """Tell whether anybody looked who asks, and could."""
    return "user" in dict(scope) and scope["state"].get(_UNREAD) is None


def provide_visitor(request: Request[Any, Any, Any]) -> Visitor:
    """Return who is signed in; behind a guard that let only such people in."""
    assert isinstance(request.user, Visitor)
    return request.user


def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let in who is signed in. Raises SignInNeeded, DatabaseAway."""
    must_be_read(connection.scope)
    if connection.user is None:
        raise SignInNeeded("Sign in to see this page.")


def owner(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let in owners, behind `signed_in`. Raises PageNotFound."""
    if connection.user is None or connection.user.role != "owner":
        raise PageNotFound("There is nothing here.")
