"""The organization's own audit trail: what its members and operators did for it.

Operators are named by their part, not by who they are or where they sit.
"""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from gateway.control_plane.accounts import memberships
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.trail import reading
from gateway.control_plane.trail.reading import NUMBER_MAX, TrailEntry, TrailFilter
from gateway.control_plane.web.csv_files import export
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import owner
from gateway.storage.database import Database

PATH = "/console/trail"
_PAGE = 50
_NOUNS = {
    "key": "Keys",
    "member": "Members",
    "invitation": "Invitations",
    "organization": "Organization",
    "webhook": "Webhooks",
    "auto_top_up": "Auto top-up",
    "alerts": "Alerts",
    "credit": "Credit",
    "payment": "Payments",
    "requests": "Requests at once",
}
_COLUMNS = ("number", "at", "who", "action", "subject", "before", "after", "reason", "network")


@get(PATH, guards=[owner])
async def show_trail(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    who: FromQuery[str] = "",
    what: FromQuery[str] = "",
    wanted: Annotated[str, QueryParameter(name="format")] = "",
    before: Annotated[int | None, QueryParameter(ge=1, le=NUMBER_MAX)] = None,
) -> Response[Any]:
    """Show one page of the trail, or its newest entries as CSV."""
    chosen = TrailFilter(
        organization_id=visitor.organization_id,
        actor_id=who,
        action=what if what in _NOUNS else "",
    )
    if wanted == "csv":
        return await export(
            database,
            "audit-trail",
            _COLUMNS,
            lambda connection, last, limit: reading.page(
                connection, chosen, before=last.number if last else before, limit=limit
            ),
            _row,
        )
    async with database.read() as connection:
        entries = await reading.page(connection, chosen, before=before, limit=_PAGE + 1)
        members = await memberships.listed(connection, visitor.organization_id)
    return render(
        "console/trail.html",
        section="trail",
        entries=entries[:_PAGE],
        next_before=entries[_PAGE - 1].number if len(entries) > _PAGE else None,
        members=members,
        nouns=_NOUNS,
        who=who,
        what=what,
        actor=_actor,
        origin=_origin,
        changes=reading.changes,
    )


def _actor(entry: TrailEntry) -> str:
    """Say who acted, as the organization knows them."""
    if entry.actor_kind == "member":
        return entry.actor or "Someone who deleted their account"
    return "The gateway" if entry.actor_kind == "system" else "An operator"


def _origin(entry: TrailEntry) -> str:
    return entry.origin if entry.actor_kind == "member" else ""


def _row(entry: TrailEntry) -> tuple[Any, ...]:
    changed = reading.changes(entry)
    return (
        entry.number,
        entry.created_at.astimezone(UTC).isoformat(timespec="seconds"),
        _actor(entry),
        entry.action,
        entry.subject,
        reading.all_before(changed),
        reading.all_after(changed),
        entry.reason,
        _origin(entry),
    )
