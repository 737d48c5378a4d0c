"""What operators say about incidents in public."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.status import incident_updates
from gateway.control_plane.status.incident_updates import IncidentUpdate
from gateway.control_plane.trail import entries
from gateway.storage.tables import trail_entries, users

_READ_MAX = 1_000


async def post(
    connection: AsyncConnection,
    operator: Operator,
    incident_id: str,
    *,
    title: str,
    words: str,
    reason: str,
) -> None:
    """Add an update, which the status page shows within seconds.

    Raises NotPermitted, NoReasonGiven, IncidentNotFound, BadUpdate.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    added = await incident_updates.add(connection, incident_id, title, words)
    await entries.record(
        connection,
        operator.actor,
        "incident.update_posted",
        f"incident:{incident_id}",
        after=_recorded(added),
        reason=said,
    )


async def correct(
    connection: AsyncConnection,
    operator: Operator,
    update_id: str,
    *,
    title: str,
    words: str,
    reason: str,
) -> str:
    """Replace what an update says, which the trail keeps; return its incident's id.

    Raises NotPermitted, NoReasonGiven, UpdateNotFound, BadUpdate.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    done = await incident_updates.correct(connection, update_id, title, words)
    await entries.record(
        connection,
        operator.actor,
        "incident.update_corrected",
        f"incident:{done.incident_id}",
        before=_recorded(done.before),
        after=_recorded(done.after),
        reason=said,
    )
    return done.incident_id


async def authors(connection: AsyncConnection, incident_ids: Sequence[str]) -> Mapping[str, str]:
    """Return who wrote the words that each update has now, by the update's id."""
    if not incident_ids:
        return {}
    entry = trail_entries.c
    found = await connection.execute(
        select(entry.after, entry.actor_kind, users.c.email)
        .join(users, users.c.id == entry.actor_id, isouter=True)
        .where(entry.subject.in_([f"incident:{one}" for one in incident_ids]))
        .order_by(entry.number.desc())
        .limit(_READ_MAX)
    )
    named: dict[str, str] = {}
    for after, kind, email in found:
        someone = "the command line" if kind == "command" else "a deleted account"
        named.setdefault(msgspec.json.decode(after).get("update", ""), email or someone)
    return named


def _recorded(said: IncidentUpdate) -> dict[str, str]:
    return {"update": said.id, "title": said.title, "words": said.words}
