"""Needs that are put off, with a reason and an end."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention import snoozes
from gateway.control_plane.attention.needs import Need
from gateway.control_plane.attention.snoozes import Snooze
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.errors import BadRequest
from gateway.storage.ledger.postings import database_now

LONGEST = timedelta(days=30)
"""Longest that a need may wait."""
REASON_CHARACTERS_MAX = 200


class CannotSnooze(BadRequest):
    """A need is put off with a reason, for a time that ends."""

    code = "cannot_snooze"


async def snooze(
    connection: AsyncConnection, operator: Operator, need: Need, lasts: timedelta, reason: str
) -> datetime:
    """Let a need wait; return until when. Raises NotPermitted or CannotSnooze."""
    operator.must("support")
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_CHARACTERS_MAX:
        raise CannotSnooze(
            f"Say why it can wait, in 1 to {REASON_CHARACTERS_MAX} characters.", param="reason"
        )
    if not timedelta(0) < lasts <= LONGEST:
        raise CannotSnooze(
            f"An item can be snoozed for at most {LONGEST.days} days.", param="hours"
        )
    now = await database_now(connection)
    until = now + lasts
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
    return until


async def end(connection: AsyncConnection, operator: Operator, key: str) -> bool:
    """Show a need again that waits; return whether it did. Raises NotPermitted."""
    operator.must("support")
    if not await snoozes.end(connection, key):
        return False
    await entries.record(connection, operator.actor, "need.unsnoozed", f"need:{key}")
    return True
