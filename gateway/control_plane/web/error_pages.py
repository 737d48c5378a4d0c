"""Errors as pages, for browsers; programs under /v1 get OpenAI's envelope instead.

What was typed into a form is never lost by one: it stands on the page, to be sent once more.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response
from litestar.response import Redirect

from gateway.control_plane.web.csrf import SENT, ForeignForm
from gateway.control_plane.web.forms import safe_path
from gateway.control_plane.web.headers import HEADERS
from gateway.control_plane.web.rendering import Renderer, is_fragment
from gateway.errors import GatewayError

_MACHINES = ("/v1", "/internal", "/health", "/metrics", "/openapi.json")
_HEADINGS = {
    400: "That can't be done as it is",
    401: "You are signed out",
    403: "This form has expired",
    404: "Nothing here",
    405: "That is not how this page is used",
    409: "That was settled meanwhile",
    413: "Too much at once",
    429: "A little slower, please",
    503: "Not at the moment",
}
_TYPED = {
    "email": "Email",
    "name": "Name",
    "budget": "Budget in dollars",
    "volume": "Million tokens per month",
    "price": "Highest price per million tokens, in dollars",
    "use_case": "Use case",
    "text": "A typical text",
    "texts_month": "Texts per month",
    "sentences": "Sentences",
}
"""What people type into the forms that are sent, by the names of the fields."""

_AGAIN = (400, 401, 403, 429, 500, 502, 503, 504)
"""With what a form was refused that may be taken the next time."""

_FRAMEWORK_CODES = ("not_found", "method_not_allowed")


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Tell whether an error goes to a person: any path that is not a machine's."""
    path = request.url.path
    return not any(path == prefix or path.startswith(f"{prefix}/") for prefix in _MACHINES)


def answer(
    renderer: Renderer, request: Request[Any, Any, Any], error: GatewayError, request_id: str
) -> Response[Any]:
    """Show an error; a fragment where htmx waits for one, and the way in for who is nobody."""
    kept = _kept(request, error)
    if error.status == 401 and not kept:
        return _sign_in(request)
    message = error.message
    if isinstance(error, ForeignForm) and is_fragment(request):
        message += " Copy what you typed, load the page again, and send it once more."
    elif isinstance(error, ForeignForm) and not kept:
        message += " Go back, load the page again, and send it once more."
    if error.error_code in _FRAMEWORK_CODES and type(error).__module__ == "gateway.errors":
        message = "The address may be mistyped, or the page has moved."
    headers = {**HEADERS, "cache-control": "no-store", **error.headers}
    if is_fragment(request):
        html = renderer.html("notice.html", message=message)
        media = "text/html"
        return Response(html, status_code=error.status, media_type=media, headers=headers)
    page = renderer.page(
        request,
        "error.html",
        status=error.status,
        heading=_HEADINGS.get(error.status, "That went wrong, and it was our mistake"),
        message=message,
        back=_back(request),
        kept=kept,
        labels=_TYPED,
        request_id=request_id if error.status >= 500 else "",
    )
    page.headers.update(headers)
    return page


def _back(request: Request[Any, Any, Any]) -> str:
    """Return the page of ours that somebody came from, where there is one to go back to."""
    try:
        came_from = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if came_from.netloc != request.url.netloc:
        return ""
    if request.method == "GET" and came_from.path == request.url.path:
        return ""  # it would end here again
    path = f"{came_from.path}?{came_from.query}" if came_from.query else came_from.path
    return path if safe_path(path) == path else ""


def _kept(request: Request[Any, Any, Any], error: GatewayError) -> dict[str, str]:
    """Return what a page of ours sent, where somebody typed some of it and can send it again."""
    sent: dict[str, str] = request.scope.get("state", {}).get(SENT, {})
    typed = any(sent.get(name) for name in _TYPED)
    return sent if typed and error.status in _AGAIN and not is_fragment(request) else {}


def _sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    path = "/console"
    if request.method == "GET":
        path = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    target = f"/sign-in?next={quote(path, safe='')}"
    if is_fragment(request):
        return Response("", status_code=200, headers={"hx-redirect": target})
    return Redirect(target, status_code=303, headers=HEADERS)
