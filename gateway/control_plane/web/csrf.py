"""Forms that only our own pages can send.

A cookie holds a random value; each form holds an HMAC over that value, the session and the
organization that it acts for. So a token is useless with another cookie, a cookie planted by a
neighboring host is useless with someone's session, and a form does nothing to an organization that
was chosen in another tab in the meantime. Litestar's own middleware covers the app as a whole, the
embeddings route included, and can't be bound to a session; this one sits on the pages' router.
"""

from __future__ import annotations

import secrets
from typing import Any

from litestar import Request
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import RequestEncodingType, ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.visitors import must_be_read
from gateway.errors import BadRequest, GatewayError
from gateway.keyring import Keyring

FIELD = "csrf_token"
HEADER = "x-csrf-token"
SENT = "form_sent"
"""The key, in a request's state, of the fields that a page of ours sent."""
PAIRS = "form_pairs"
"""The key of the same fields as pairs, with each value of a name that was sent more than once."""
EXEMPT = "csrf_exempt"
"""A handler's `opt` for the one POST of mail programs: one-click unsubscribe."""
ANYBODYS = "anybodys_form"
"""A handler's `opt` for forms that anyone may send: it is enough that the browser says that the
form is from our own page, so it stays valid after signing in or out in another tab."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_FORMS = (RequestEncodingType.URL_ENCODED, RequestEncodingType.MULTI_PART)
_RANDOM_CHARACTERS = 32
_NOT_FOUND = 404


class ForeignForm(GatewayError):
    """A form that no page of ours sent, or one that was open for too long."""

    status = 403
    type = "invalid_request_error"
    code = "foreign_form"


class CsrfMiddleware(ASGIMiddleware):
    """Gives each page its token, and refuses forms without it."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, *, secret: Keyring, secure: bool) -> None:
        self._secret = secret
        self._cookie = HostCookie("form", secure=secure)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Check a form, or give the page that may hold one its token."""
        request: Request[Any, Any, Any] = Request(scope, receive)
        nonce = request.cookies.get(self._cookie.name, "")
        known = len(nonce) == _RANDOM_CHARACTERS
        if not known:
            nonce = secrets.token_hex(_RANDOM_CHARACTERS // 2)
        said = _said(nonce, scope)
        scope["state"]["csrf_token"] = self._secret.prove(said)
        options = request.route_handler.opt
        if request.method not in _SAFE and not options.get(EXEMPT):
            pairs = await _fields(request)
            fields = dict(pairs)
            sent = request.headers.get(HEADER) or fields.pop(FIELD, "")
            ours = request.headers.get("sec-fetch-site") == "same-origin"
            good = known and self._secret.accepts(said, sent)
            good |= ours and bool(options.get(ANYBODYS))
            # never show what another site sent as if it had been typed here
            if good or ours:
                scope["state"][SENT] = fields
                scope["state"][PAIRS] = [pair for pair in pairs if pair[0] != FIELD]
            if not good:
                must_be_read(scope)
                raise ForeignForm(
                    "This form has expired, or cookies are off. Nothing was done.",
                    headers={} if known else {"set-cookie": self._header(nonce)},
                )
        await next_app(scope, receive, send if known else self._with_cookie(send, nonce))

    def _with_cookie(self, send: Send, nonce: str) -> Send:
        async def send_with_cookie(message: Message) -> None:
            # a page that this visitor must not see answers like one that does not exist
            if message["type"] == "http.response.start" and message["status"] != _NOT_FOUND:
                MutableScopeHeaders.from_message(message).add("set-cookie", self._header(nonce))
            await send(message)

        return send_with_cookie

    def _header(self, nonce: str) -> str:
        return self._cookie.holding(nonce).to_header(header="")


def _said(nonce: str, scope: Scope) -> str:
    """Return what a token proves: whose form it is, and for whom it acts."""
    visitor: Visitor | None = scope.get("user")
    acting = f"{visitor.session_id}|{visitor.organization_id}" if visitor else ""
    return f"form|{nonce}|{acting}"


async def _fields(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    if request.content_type[0] not in _FORMS:
        return []
    try:
        form = await request.form()
    except ValueError as error:  # UnicodeDecodeError is one
        raise BadRequest("The form can't be read: it is not in UTF-8.") from error
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
