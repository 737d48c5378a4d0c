"""Security headers of every page: it runs only our files, and no other site can frame it.

Also answers HEAD wherever there is GET, for link checkers and monitors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

FORM_ACTION = "form-action 'self'"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self' data:; "
    "font-src 'self'; "
    "connect-src 'self'; "
    f"{FORM_ACTION}; "
    "frame-ancestors 'none'; "
    "base-uri 'none'"
)


def page_headers(*, secure: bool, forms_to: Sequence[str] = ()) -> dict[str, str]:
    """Return the headers; `forms_to` are other sites that the answer to a form may lead to."""
    headers = {
        "content-security-policy": CONTENT_SECURITY_POLICY.replace(
            FORM_ACTION, " ".join([FORM_ACTION, *forms_to])
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "strict-origin-when-cross-origin",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
    if secure:
        headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"
    return headers


class HeadersMiddleware(ASGIMiddleware):
    """Adds the headers. Pages are personal: no shared cache keeps them."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, and add the headers to its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in self._headers.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    # after signing out, the back button must show nothing personal
                    kept = "no-store" if scope.get("user") else "no-cache"
                    headers["cache-control"] = f"private, {kept}"
            await send(message)

        await next_app(scope, receive, send_with_headers)


def answer_head(app: ASGIApp) -> ASGIApp:
    """Answer HEAD as GET, without the body."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        scope = scope.copy()
        scope["method"] = "GET"
        await app(scope, receive, send_head)

    return handle
