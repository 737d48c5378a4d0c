"""Proofs of identity before dangerous actions: who must give one, and the page that asks for it.

A form that needed a proof is not lost. That page holds its fields; once the proof is given, the
browser sends them again by itself (307).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.response import Redirect

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.web.csrf import PAIRS
from gateway.control_plane.web.forms import RefusedForm, safe_path
from gateway.control_plane.web.rendering import Renderer, is_fragment
from gateway.errors import GatewayError

VERIFIED = timedelta(hours=12)
"""How long a second factor opens the back office."""
FRESH = timedelta(minutes=10)
"""How long a proof is enough for actions that move money or can't be undone."""

PATH = "/sign-in/verify"
ADMIN_PATH = "/admin/verify"
FIELDS = "factor_"
"""What the names of the page's own fields begin with."""


class VerificationNeeded(GatewayError):
    """The visitor must prove once more who they are."""

    status = 401
    type = "authentication_error"
    code = "verification_needed"


def fresh(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let in visitors who gave a proof in the last ten minutes. Raises VerificationNeeded.

    A guard that comes after those that establish who the visitor is.
    """
    visitor: Visitor | None = connection.user
    if visitor is None or not is_fresh(visitor):
        raise VerificationNeeded("Confirm once more that this is you.")


def is_fresh(visitor: Visitor) -> bool:
    """Tell whether a visitor gave a proof in the last ten minutes.

    A recent sign-in by mail counts too, so that people who lost a device can still delete their
    account; but for operators who have a second factor, only that factor counts.
    """
    if _within(visitor, visitor.verified_at, FRESH):
        return True
    by_factor = visitor.operator_role and (visitor.has_authenticator or visitor.has_passkey)
    return not by_factor and _within(visitor, visitor.signed_in_at, FRESH)


def is_verified(visitor: Visitor) -> bool:
    """Tell whether a visitor proved a second factor in the last twelve hours."""
    return _within(visitor, visitor.verified_at, VERIFIED)


def ask(renderer: Renderer, request: Request[Any, Any, Any]) -> Response[Any]:
    """Answer a request that needed a proof: go to the page that asks, or show it with the form."""
    if request.method == "GET" or is_fragment(request):
        path = request.url.path if request.method == "GET" else _page_of(request)
        if request.method == "GET" and request.url.query:
            path += f"?{request.url.query}"
        target = f"{path_for(request)}?next={quote(path, safe='')}"
        if is_fragment(request):
            return Response("", status_code=200, headers={"hx-redirect": target})
        return Redirect(target, status_code=303, headers=renderer.headers)
    page = show(renderer, request, request.url.path, resend=sent_fields(request))
    page.headers.update(renderer.headers, **{"cache-control": "no-store"})
    return page


def show(
    renderer: Renderer,
    request: Request[Any, Any, Any],
    path: str,
    *,
    resend: Sequence[tuple[str, str]] | None = None,
    refused: RefusedForm | None = None,
) -> Response[str]:
    """Show the page that asks; then lead to a path, or send a form's fields to it again."""
    return renderer.page(
        request,
        "verify.html",
        status=200 if resend is None else VerificationNeeded.status,
        refused=refused,
        action=path_for(request),
        next=safe_path(path),
        resend=resend,
    )


def sent_fields(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """Return the fields of a form of ours, without those of the page that asks."""
    pairs: list[tuple[str, str]] = request.scope.get("state", {}).get(PAIRS, [])
    return [(name, value) for name, value in pairs if not name.startswith(FIELDS)]


def path_for(request: Request[Any, Any, Any]) -> str:
    """Return the address of the page that asks: the back office has its own."""
    return ADMIN_PATH if request.url.path.startswith("/admin") else PATH


def _page_of(request: Request[Any, Any, Any]) -> str:
    """Return the path of the page that htmx sent something from."""
    _, _, path = request.headers.get("hx-current-url", "").partition("://")
    return safe_path(f"/{path.partition('/')[2]}")


def _within(visitor: Visitor, at: datetime | None, span: timedelta) -> bool:
    return at is not None and visitor.read_at - at < span
