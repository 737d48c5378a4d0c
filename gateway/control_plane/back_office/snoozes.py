"""Needs that are put off, with a reason and an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention import snoozes
from gateway.control_plane.attention.needs import Need
from gateway.control_plane.attention.snoozes import Snooze
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.errors import BadRequest

LONGEST = timedelta(days=30)
"""Longest that a need may wait."""
REASON_CHARACTERS_MAX = 200


class CannotSnooze(BadRequest):
    """A need is put off with a reason, for a time that ends."""

    code = "cannot_snooze"


async def snooze(
    connection: AsyncConnection, operator: Operator, need: Need, until: datetime, reason: str
) -> None:
    """Let a need wait. Raises NotPermitted or CannotSnooze."""
    operator.must("support")
    now = datetime.now(UTC)
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_CHARACTERS_MAX:
        raise CannotSnooze(
            f"Say why it can wait, in 1 to {REASON_CHARACTERS_MAX} characters.", param="reason"
        )
    if not now < until <= now + LONGEST:
        raise CannotSnooze(f"A need waits for at most {LONGEST.days} days.", param="hours")
    await snoozes.put(
        connection,
        Snooze(
            key=need.key,
            severity=need.severity,
            reason=reason,
            user_id=operator.user_id,
            created_at=now,
            until=until,
        ),
    )
    after = {"until": until.isoformat(timespec="minutes"), "severity": need.severity}
    await entries.record(
        connection,
        operator.actor,
        "need.snoozed",
        f"need:{need.key}",
        after=after,
        reason=reason,
    )


async def end(connection: AsyncConnection, operator: Operator, key: str) -> bool:
    """Show a need again that waits; return whether it did. Raises NotPermitted."""
    operator.must("support")
    if not await snoozes.end(connection, key):
        return False
    await entries.record(connection, operator.actor, "need.unsnoozed", f"need:{key}")
    return True
