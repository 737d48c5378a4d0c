"""Limits of an organization that operators change: requests at once, buying, auto top-up."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import organization_limits
from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import auto_top_up, customers
from gateway.control_plane.trail.entries import record


async def release(
    connection: AsyncConnection, operator: Operator, organization_id: str, *, reason: str
) -> str | None:
    """Let an organization buy again; return what held it, None if nothing did."""
    operator.must("money")
    reason = acting.checked(operator, reason, param="words")
    held_for = await customers.release(connection, organization_id, wall.now())
    if held_for is not None:
        await record(
            connection,
            operator.actor,
            "buying.released",
            f"organization:{organization_id}",
            organization_id=organization_id,
            before={"state": "held"},
            after={"state": "free"},
            reason=reason,
        )
    return held_for


async def switch_off_top_up(
    connection: AsyncConnection, operator: Operator, organization_id: str, *, reason: str
) -> bool:
    """Switch an organization's auto top-up off; return whether it was on."""
    operator.must("money")
    reason = acting.checked(operator, reason, param="words")
    was_on = await auto_top_up.switch_off(connection, organization_id, wall.now())
    if was_on:
        await record(
            connection,
            operator.actor,
            "auto_top_up.switched_off",
            f"organization:{organization_id}",
            organization_id=organization_id,
            before={"enabled": True},
            after={"enabled": False},
            reason=reason,
        )
    return was_on


async def limit_requests(
    connection: AsyncConnection,
    operator: Operator,
    organization_id: str,
    most: int | None,
    *,
    reason: str,
) -> None:
    """Set how many requests an organization may have in progress in a process at once.

    None: as many as all others. Processes follow within seconds. Raises NotPermitted,
    NoReasonGiven, LimitOutOfBounds.
    """
    operator.must("money")
    reason = acting.checked(operator, reason, param="words")
    before = await organization_limits.in_flight_max(connection, organization_id)
    await organization_limits.set_in_flight_max(connection, organization_id, most)
    await record(
        connection,
        operator.actor,
        "requests.limited",
        f"organization:{organization_id}",
        organization_id=organization_id,
        before={"in_flight_max": before},
        after={"in_flight_max": most},
        reason=reason,
    )
