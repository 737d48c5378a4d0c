"""The audit trail: everything that operators, members and commands did, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import addresses, organizations, users
from gateway.control_plane.accounts.addresses import BadAddress
from gateway.control_plane.accounts.organizations import OrganizationNotFound
from gateway.control_plane.pages.admin.lists import ROWS, export, keyset
from gateway.control_plane.trail import audits, reading
from gateway.control_plane.trail.reading import NUMBER_MAX, TrailFilter
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

PATH = "/admin/trail"
KINDS = {
    "operator": "Operators",
    "member": "Members",
    "command": "Command line",
    "system": "Jobs",
}
_COLUMNS = (
    "number", "at", "kind", "actor", "action", "subject", "organization", "before", "after",
    "reason", "network",
)  # fmt: skip


@get(PATH)
async def show_trail(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    actor: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    action: FromQuery[str] = "",
    subject: FromQuery[str] = "",
    organization: FromQuery[str] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    wanted: Annotated[str, QueryParameter(name="format")] = "",
    before: Annotated[int | None, QueryParameter(ge=1, le=NUMBER_MAX)] = None,
) -> Response[Any]:
    """Show one page of the trail, or its newest entries as CSV."""
    typed = {
        "actor": actor.strip(),
        "kind": kind if kind in KINDS else "",
        "action": action.strip(),
        "subject": subject.strip(),
        "organization": organization.strip(),
        "since": since if _day(since) else "",
        "until": until if _day(until) else "",
    }
    async with database.read() as connection:
        chosen = await _filter(connection, typed)
    if wanted == "csv":
        return await export(
            database,
            "audit-trail",
            _COLUMNS,
            lambda connection, last, limit: reading.page(
                connection, chosen, before=last.number if last else before, limit=limit
            ),
            csv_row,
        )
    async with database.read() as connection:
        entries = await reading.page(connection, chosen, before=before, limit=ROWS + 1)
        known = await reading.actions(connection)
        checked = (await audits.latest(connection)).get("trail")
    return render(
        "admin/trail.html",
        section="trail",
        page=keyset(PATH, typed, entries, lambda entry: entry.number, before=before),
        typed=typed,
        kinds=KINDS,
        known=known,
        nouns=sorted({name.partition(".")[0] for name in known}),
        changes=reading.changes,
        checked=checked,
    )


def csv_row(entry: reading.TrailEntry) -> tuple[Any, ...]:
    """Return an entry as a line of a CSV."""
    changed = reading.changes(entry)
    return (
        entry.number,
        entry.created_at.astimezone(UTC).isoformat(timespec="seconds"),
        entry.actor_kind,
        entry.actor or entry.actor_id,
        entry.action,
        entry.subject,
        entry.organization_id,
        reading.all_before(changed),
        reading.all_after(changed),
        entry.reason,
        entry.origin,
    )


async def _filter(connection: AsyncConnection, typed: Mapping[str, str]) -> TrailFilter:
    since, until = _day(typed["since"]), _day(typed["until"])
    return TrailFilter(
        actor_id=await _actor(connection, typed["actor"]),
        actor_kind=typed["kind"],
        action=typed["action"],
        subject=typed["subject"],
        organization_id=await _organization(connection, typed["organization"]),
        since=_midnight(since) if since else None,
        until=_midnight(until + timedelta(days=1)) if until else None,
    )


async def _actor(connection: AsyncConnection, typed: str) -> str:
    """Return the id of a user whose address was typed, or what was typed."""
    if "@" not in typed:
        return typed
    try:
        return await users.id_of(connection, addresses.parse(typed)) or typed
    except BadAddress:
        return typed


async def _organization(connection: AsyncConnection, typed: str) -> str:
    if not typed:
        return ""
    try:
        return (await organizations.find(connection, typed)).id
    except OrganizationNotFound:
        return typed  # which is no id, and finds nothing


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if date.min < day < date.max else None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
