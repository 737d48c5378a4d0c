"""The end of an operator's view of the console as a customer."""

from __future__ import annotations

from typing import Any

from litestar import Response, post
from litestar.di import NamedDependency

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.back_office import views
from gateway.control_plane.trail.entries import Actor
from gateway.control_plane.web.forms import see_other
from gateway.control_plane.web.visitors import VIEW_END
from gateway.settings import Settings
from gateway.storage.database import Database


@post(VIEW_END)
async def end_view(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    origin: NamedDependency[str],
) -> Response[Any]:
    """End it, and lead back to the organization in the back office."""
    actor = Actor(kind="operator", user_id=visitor.user_id, origin=origin)
    async with database.write() as connection:
        viewed = await views.end(connection, actor, visitor.session_id)
    if viewed is None:
        return see_other("/console")
    return see_other(f"{settings.admin_address}/admin/organizations/{viewed}")
