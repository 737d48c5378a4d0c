"""Errors as pages, for browsers; programs under /v1 get OpenAI's envelope instead."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from litestar import Request, Response
from litestar.response import Redirect

from gateway.control_plane.site.forms import safe_path
from gateway.control_plane.site.headers import HEADERS
from gateway.control_plane.site.rendering import Renderer, is_fragment
from gateway.errors import GatewayError

_MACHINES = ("/v1", "/internal", "/health", "/metrics", "/openapi.json")
_HEADINGS = {
    400: "That can't be done as it is",
    403: "This form has expired",
    404: "Nothing here",
    405: "That is not how this page is used",
    409: "That was settled meanwhile",
    413: "Too much at once",
    429: "A little slower, please",
    503: "Not at the moment",
}
_FRAMEWORK_CODES = ("not_found", "method_not_allowed")


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Tell whether an error goes to a person: any path that is not a machine's."""
    path = request.url.path
    return not any(path == prefix or path.startswith(f"{prefix}/") for prefix in _MACHINES)


def answer(
    renderer: Renderer, request: Request[Any, Any, Any], error: GatewayError, request_id: str
) -> Response[Any]:
    """Show an error; a fragment where htmx waits for one, and the way in for who is nobody."""
    if error.status == 401:
        return _sign_in(request)
    message = error.message
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


def _sign_in(request: Request[Any, Any, Any]) -> Response[Any]:
    path = request.url.path if request.method == "GET" else "/console"
    target = f"/sign-in?next={quote(path, safe='')}"
    if is_fragment(request):
        return Response("", status_code=200, headers={"hx-redirect": target})
    return Redirect(target, status_code=303, headers=HEADERS)
