"""Errors as pages, for browsers; programs under /v1 get OpenAI's envelope instead.

What was typed into a form is not lost: the error page holds it, so that it can be sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

from litestar import Request, Response
from litestar.response import Redirect
from litestar.types import HTTPScope

from gateway.control_plane.accounts.links import LinkSpent, Purpose
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.catalog.listings import ListingNotFound
from gateway.control_plane.demand import asks
from gateway.control_plane.web import verification
from gateway.control_plane.web.csrf import SENT, ForeignForm
from gateway.control_plane.web.forms import came_from
from gateway.control_plane.web.rendering import Render, Renderer, is_fragment
from gateway.control_plane.web.verification import VerificationNeeded
from gateway.control_plane.web.visitors import SignInNeeded, was_signed_in
from gateway.errors import GatewayError, NotFound, Unavailable, documented

_MACHINES = ("/v1", "/internal", "/health", "/metrics", "/openapi.json", "/webhooks")
_HEADINGS = {
    400: "We couldn't do that",
    401: "You are signed out",
    403: "You can't do that right now",
    404: "Nothing here",
    405: "This page doesn't work that way",
    409: "Someone else changed this first",
    413: "That's too large",
    429: "Too many requests",
    503: "Temporarily unavailable",
}
_TYPED = {
    "email": "Email",
    "name": "Name",
    "budget": "Budget in dollars",
    "custom": "Other amount, in whole dollars",
    "amount": "Buy, in whole dollars",
    "threshold": "When below, in dollars",
    "month": "Monthly limit, in dollars",
    "dollars": "Alert below, in dollars",
    "url": "Address",
    "volume": "Million tokens per month",
    "price": "Highest price per million tokens, in dollars",
    "use_case": "Use case",
    "text": "A typical input",
    "texts_month": "Inputs per month",
    "sentences": "Sentences",
    "query": "Query",
    "passages": "Passages",
    "code": "Six-digit code",
    "reason": "Reason",
    "words": "In your own words",
    "title": "Title",
    "ticket": "Ticket",
    "id": "Model",
    "flex": "Flex price per million tokens, in dollars",
    "card": "Facts, as TOML",
    "page": "Page, as TOML",
}
"""Labels of the fields that people type into, by name."""
_TYPED_BY_OPERATORS = {**_TYPED, "amount": "Amount in dollars"}

_AGAIN = (400, 401, 403, 429, 500, 502, 503, 504)
"""Statuses after which the same form may be accepted later."""

_NEW_LINKS: Mapping[Purpose, tuple[str, str, str]] = {
    "sign_in": ("Ask for a new one.", "Email me a new one", "/sign-in"),
    "invitation": ("The person who invited you can send another.", "To the console", "/console"),
    "waitlist": ("Ask for a new one on the model's page.", "See the models", "/models"),
}
"""What to do about a spent link: a sentence, and a button's text and path."""

_FRAMEWORK_CODES = ("not_found", "method_not_allowed")


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Tell whether an error goes to a person: any path that is not for programs."""
    path = request.url.path
    return not any(path == prefix or path.startswith(f"{prefix}/") for prefix in _MACHINES)


def answer(
    renderer: Renderer, request: Request[Any, Any, Any], error: GatewayError, request_id: str
) -> Response[Any]:
    """Answer with a page, with a fragment for htmx, or lead a signed-out visitor to the sign-in."""
    if _is_hidden(request, error):
        # like an address without a page, where nothing is known of the visitor either
        bare = {name: value for name, value in request.scope.items() if name != "user"}
        request = Request(cast("HTTPScope", {**bare, "state": {}}))
        error = NotFound("")
    if isinstance(error, VerificationNeeded):
        return verification.ask(renderer, request)
    kept = _kept(request, error)
    if error.status == 401 and not kept:
        return _sign_in(renderer, request)
    is_over = isinstance(error, ForeignForm) and was_signed_in(request.scope)
    message = "Your session has ended, so nothing was done." if is_over else error.message
    if isinstance(error, ForeignForm) and is_fragment(request):
        message += " Copy what you typed, load the page again, and send it again."
    elif isinstance(error, ForeignForm) and not kept:
        message += " Go back, load the page again, and send it again."
    if error.code in _FRAMEWORK_CODES and type(error).__module__ == "gateway.errors":
        message = "The address may be mistyped, or the page has moved."
    headers = {**renderer.headers, "cache-control": "no-store", **error.headers}
    if is_fragment(request):
        html = renderer.html("notice.html", message=message)
        media = "text/html"
        return Response(html, status_code=error.status, media_type=media, headers=headers)
    page = renderer.page(
        request,
        "error.html",
        status=error.status,
        heading=_HEADINGS[401] if is_over else _heading(error),
        message=message,
        back=came_from(request),
        kept=kept,
        wanted=_wanted(request, error),
        labels=_TYPED_BY_OPERATORS if request.url.path.startswith("/admin/") else _TYPED,
        about=type(error).anchor() if _is_explained(error) else "",
        request_id=request_id if error.status >= 500 else "",
    )
    page.headers.update(headers)
    return page


def _is_explained(error: GatewayError) -> bool:
    """Tell whether the documentation of the API says more than the page of an error."""
    return error.status != 404 and type(error) in documented()


def _wanted(request: Request[Any, Any, Any], error: GatewayError) -> str:
    """Return the name of the model whose page was asked for, if we don't have it."""
    if not isinstance(error, ListingNotFound):
        return ""
    return asks.normalized(request.url.path.removeprefix("/models/")) or ""


def _heading(error: GatewayError) -> str:
    if isinstance(error, ForeignForm):
        return "This form has expired"
    return _HEADINGS.get(error.status, "Something went wrong on our side")


def spent_link(render: Render, error: LinkSpent, purpose: Purpose) -> Response[str]:
    """Say that a mailed link can't be used any more, and how to get a new one."""
    message, way, href = _NEW_LINKS[purpose]
    return render(
        "again.html",
        status=error.status,
        heading="This link no longer works",
        message=f"{error.message} {message}",
        way=way,
        href=href,
    )


def _kept(request: Request[Any, Any, Any], error: GatewayError) -> dict[str, str]:
    """Return the fields that were sent, if the visitor typed some and can send them again."""
    sent: dict[str, str] = request.scope.get("state", {}).get(SENT, {})
    names = sent if request.url.path.startswith("/admin/") else _TYPED
    typed = any(sent.get(name) for name in names)
    return sent if typed and error.status in _AGAIN and not is_fragment(request) else {}


def _is_hidden(request: Request[Any, Any, Any], error: GatewayError) -> bool:
    """Tell whether the back office must hide from a visitor that it exists.

    If an operator's session has ended in the meantime, what they typed must not be lost: a form
    that one of our pages sent is answered as it is elsewhere.
    """
    path = request.url.path
    if path != "/admin" and not path.startswith("/admin/"):
        return False
    visitor: Visitor | None = request.scope.get("user")
    if visitor is not None and visitor.operator_role is not None:
        return False
    typed = was_signed_in(request.scope) and bool(request.scope.get("state", {}).get(SENT))
    return not (typed or isinstance(error, SignInNeeded | Unavailable))


def _sign_in(renderer: Renderer, request: Request[Any, Any, Any]) -> Response[Any]:
    path = "/console"
    if request.method == "GET":
        path = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    target = f"/sign-in?next={quote(path, safe='')}"
    if is_fragment(request):
        return Response("", status_code=200, headers={"hx-redirect": target})
    return Redirect(target, status_code=303, headers=renderer.headers)
