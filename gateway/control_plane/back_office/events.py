"""Stripe's events that are routed once more."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import stored_events
from gateway.control_plane.trail import entries


async def replay(
    connection: AsyncConnection, operator: Operator, event_id: str, *, reason: str
) -> None:
    """Route an event again: what it is about is read at Stripe, and the ledger follows that.

    Raises NotPermitted, NoReasonGiven or NoSuchEvent.
    """
    operator.must("support")
    said = acting.checked(operator, reason)
    before = await stored_events.replay(connection, event_id)
    await entries.record(
        connection,
        operator.actor,
        "event.replayed",
        f"event:{event_id}",
        before={"state": before.state, "attempts": before.attempts},
        after={"state": "waiting"},
        reason=said,
    )
