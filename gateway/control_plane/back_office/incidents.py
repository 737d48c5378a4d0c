"""What operators say of incidents in public."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.status import incident_updates
from gateway.control_plane.trail import entries


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
    await incident_updates.add(connection, incident_id, title, words)
    await entries.record(
        connection,
        operator.actor,
        "incident.update_posted",
        f"incident:{incident_id}",
        after={"title": title.strip(), "words": words.strip()},
        reason=said,
    )
