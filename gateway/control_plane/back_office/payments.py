"""Payments that operators look at, or give up."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import abandonment, attention, payments
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.trail.entries import record


async def see_payment(
    connection: AsyncConnection, operator: Operator, payment_id: str, *, reason: str
) -> str:
    """Take a payment off the list of what needs an operator; return what it asked for.

    Raises NoSuchPayment or NotPermitted.
    """
    operator.must("support")
    reason = acting.checked(operator, reason)
    asked = await attention.seen(connection, payment_id)
    if asked:
        payment = await payments.find(connection, payment_id)
        await record(
            connection,
            operator.actor,
            "payment.seen",
            f"payment:{payment_id}",
            organization_id=payment.organization_id,
            reason=reason,
        )
    return asked


async def give_payment_up(
    connection: AsyncConnection, operator: Operator, payment_id: str, *, reason: str
) -> Payment:
    """Give up a payment that Stripe no longer shows. Raises NoSuchPayment or NotPermitted."""
    operator.must("money")
    reason = acting.checked(operator, reason)
    before = await payments.get(connection, payment_id)
    given_up = await abandonment.abandon(connection, payment_id, reason)
    assert before is not None
    await record(
        connection,
        operator.actor,
        "payment.abandoned",
        f"payment:{payment_id}",
        organization_id=given_up.organization_id,
        before={"state": before.state},
        after={"state": given_up.state},
        reason=reason,
    )
    return given_up
