"""Payments that operators start, read again, look at, or give up."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.back_office.refunds import NotSelling
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.payments import abandonment, attention, payments
from gateway.control_plane.payments.checkout import Checkout
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.reconciler import Reconciler
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.control_plane.trail.entries import record
from gateway.errors import Unavailable
from gateway.identifiers import new_id
from gateway.storage.database import Database


class StripeUnread(Unavailable):
    """Stripe did not answer, or refused."""

    code = "stripe_unavailable"


async def start_payment(
    database: Database,
    operator: Operator,
    checkout: Checkout,
    organization_id: str,
    amount_cents: int,
    *,
    reason: str,
) -> Payment:
    """Start a payment for an organization to pay; it has the address of its page at Stripe.

    It is recorded before Stripe is asked, so what can't be started is recorded too. Raises
    NotPermitted, NoReasonGiven, and as `Checkout.start`.
    """
    operator.must("money")
    reason = acting.checked(operator, reason)
    payment_id = new_id()
    async with database.write() as connection:
        await record(
            connection,
            operator.actor,
            "payment.requested",
            f"payment:{payment_id}",
            organization_id=organization_id,
            after={"amount_cents": amount_cents},
            reason=reason,
        )
    return await checkout.start(
        organization_id, None, amount_cents, save_card=False, payment_id=payment_id
    )


async def read_payment(
    database: Database,
    operator: Operator,
    reconciler: Reconciler | None,
    payment_id: str,
    *,
    reason: str,
) -> Payment:
    """Read a payment at Stripe now, and post what follows.

    Raises NoSuchPayment, NotPermitted, NoReasonGiven, StripeUnread.
    """
    operator.must("support")
    reason = acting.checked(operator, reason, param="words")
    if reconciler is None:
        raise NotSelling("GATEWAY_STRIPE_SECRET_KEY is not set, so nothing is read from Stripe.")
    async with database.write() as connection:
        payment = await payments.find(connection, payment_id)
        await record(
            connection,
            operator.actor,
            "payment.read",
            f"payment:{payment_id}",
            organization_id=payment.organization_id,
            before={"state": payment.state, "posted_nanos": payment.posted_nanos},
            reason=reason,
        )
    try:
        return await reconciler.reconcile(payment_id)
    except StripeFailure as error:
        raise StripeUnread(f"Stripe: {error}") from None


async def see_payment(
    connection: AsyncConnection, operator: Operator, payment_id: str, *, reason: str
) -> str:
    """Take a payment off the list of what needs an operator; return what it asked for.

    Raises NoSuchPayment or NotPermitted.
    """
    operator.must("support")
    reason = acting.checked(operator, reason, param="words")
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
    reason = acting.checked(operator, reason, param="words")
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
