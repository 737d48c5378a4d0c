"""Refunds that operators make, recorded in the audit trail in the transaction that stores them.

Stripe is asked after that transaction; if the process dies between, a job asks.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office.orders import RefundOrder
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.refunds import Refund, Refunds
from gateway.control_plane.trail.entries import record
from gateway.errors import BadRequest


class NotSelling(BadRequest):
    """This gateway sells nothing: it has no key of Stripe's."""

    code = "not_selling"


async def ask(
    connection: AsyncConnection, refunds: Refunds | None, order: RefundOrder, reason: str
) -> Refund:
    """Store a refund, or return the one that was asked for before. Raises CannotRefund."""
    if refunds is None:
        raise NotSelling("GATEWAY_STRIPE_SECRET_KEY is not set, so nothing can be refunded.")
    await payments.find_own(connection, order.organization_id, order.payment_id)
    return await refunds.ask(connection, order.payment_id, order.amount_cents, reason)


async def record_refund(
    connection: AsyncConnection,
    operator: Operator,
    order: RefundOrder,
    refund: Refund,
    reason: str,
    order_id: str,
) -> None:
    """Record a refund that was just stored."""
    payment = await payments.find(connection, order.payment_id)
    await record(
        connection,
        operator.actor,
        "payment.refunded",
        f"payment:{order.payment_id}",
        organization_id=order.organization_id,
        before={"refunded_cents": payment.refunded_cents},
        after={"amount_cents": refund.amount_cents, "refund": refund.id, "order": order_id},
        reason=reason,
    )
