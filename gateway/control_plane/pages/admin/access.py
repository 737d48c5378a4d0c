"""Who may see the back office: operators who proved a second factor. Others find nothing there."""

from __future__ import annotations

from functools import partial
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.attention.lookout import Lookout
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.web.rendering import Render, Renderer
from gateway.control_plane.web.verification import VerificationNeeded, is_verified
from gateway.control_plane.web.visitors import PageNotFound, must_be_read


def operators_only(
    connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
) -> None:
    """Let in operators who proved a second factor in the last twelve hours.

    Raises PageNotFound, VerificationNeeded, DatabaseAway. What moves money needs the guard `fresh`
    of web.verification too.
    """
    must_be_read(connection.scope)
    visitor: Visitor | None = connection.user
    if visitor is None or visitor.operator_role is None:
        raise PageNotFound("There is nothing here.")
    if not is_verified(visitor):
        raise VerificationNeeded("Prove a second factor to open the back office.")


def provide_operator(
    request: Request[Any, Any, Any],
    origin: NamedDependency[str],
    attention: NamedDependency[Lookout],
) -> Operator:
    """Return the operator, behind the guard `operators_only`."""
    visitor: Visitor = request.user
    assert visitor.operator_role
    if request.method != "GET" and not request.url.path.startswith("/admin/search"):
        attention.forget()  # what they do may end a need
    return Operator(
        user_id=visitor.user_id, email=visitor.email, role=visitor.operator_role, origin=origin
    )


def provide_render(
    request: Request[Any, Any, Any],
    renderer: NamedDependency[Renderer],
    attention: NamedDependency[Lookout],
    operator: NamedDependency[Operator],
) -> Render:
    """Return what renders a page of the back office: its layout shows the operator and a count."""
    return partial(renderer.page, request, operator=operator, needs_count=lambda: attention.count)
