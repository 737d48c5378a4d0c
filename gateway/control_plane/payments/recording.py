"""Writes what Stripe says of a payment: credit and tax, the books, refunds, disputes.

All of it happens in a transaction of the caller, who holds the payment's row lock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.alerts import notices
from gateway.control_plane.alerts.notices import Notice
from gateway.control_plane.payments.adoption import SECOND
from gateway.control_plane.payments.facts import CURRENCY, Facts, desired
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.stripe_objects import StripeDispute, StripeRefund
from gateway.identifiers import is_id, new_id
from gateway.storage.database import insert_into
from gateway.storage.ledger import books, freezes
from gateway.storage.ledger.payments import post
from gateway.storage.tables import payment_disputes, payment_refunds

_LOST_AFTER = timedelta(minutes=15)
"""How long after its end a checkout is given up if Stripe never had it."""
_REASON_MAX = 500


def values_of(payment: Payment, found: Facts | None, now: datetime) -> dict[str, Any]:
    """Return the columns of a payment that change because of what Stripe says."""
    values = _nothing(payment, now) if found is None else _said(payment, found)
    if values["state"] != payment.state:
        values["changed_at"] = now
    if values["state"] == "paid" and payment.paid_at is None:
        values["paid_at"] = now
    return values


async def write(
    connection: AsyncConnection, before: Payment, after: Payment, found: Facts, now: datetime
) -> None:
    """Write everything that follows from what Stripe says, except the payment's own row."""
    if after.postings != before.postings:
        await _post(connection, before, after)
    await _book(connection, after, found)
    await _freeze(connection, after, found)
    for refund in found.refunds:
        await _store_refund(connection, after, refund, now)
    for dispute in found.disputes:
        await _store_dispute(connection, after, dispute, now)
    if before.posted_nanos == 0 and before.postings == 0 and after.posted_nanos > 0:
        await _tell(connection, after, now)


def _said(payment: Payment, found: Facts) -> dict[str, Any]:
    target = desired(found, payment)
    is_paid = found.state == "paid"
    # why an auto top-up failed was written with its consequences
    is_known = payment.origin == "auto" and payment.state == found.state == "failed"
    is_named_twice = payment.attention.startswith(SECOND)
    values: dict[str, Any] = {
        "state": found.state,
        "session_id": found.session_id or payment.session_id,
        "intent_id": found.intent_id or payment.intent_id,
        "charge_id": found.charge_id or payment.charge_id,
        "customer_id": found.customer_id or payment.customer_id,
        "payment_method_id": found.payment_method_id or payment.payment_method_id,
        "received_cents": found.received_cents,
        "refunded_cents": found.refunded_cents,
        "disputed_cents": found.disputed_cents,
        "tax_cents": found.tax_cents,
        "posted_nanos": target.credit_nanos,
        "tax_posted_nanos": target.tax_nanos,
        "failure_code": "" if is_paid else found.failure_code,
        "failure_reason": "" if is_paid else found.failure_reason,
        "attention": payment.to_see(target.attention)
        or (payment.attention if is_named_twice else ""),
    }
    if is_known and payment.failure_code:
        values["failure_code"] = payment.failure_code
        values["failure_reason"] = payment.failure_reason
    posted = (payment.posted_nanos, payment.tax_posted_nanos)
    if posted != (target.credit_nanos, target.tax_nanos):
        values["postings"] = payment.postings + 1
    # what was known stays where Stripe says nothing
    for name in ("invoice_number", "invoice_url", "receipt_url", "tax_id", "country"):
        values[name] = getattr(found, name) or getattr(payment, name)
    fingerprint = found.card.fingerprint if found.card else None
    values["card_fingerprint"] = fingerprint or payment.card_fingerprint
    return values


def _nothing(payment: Payment, now: datetime) -> dict[str, Any]:
    """Return what changes when Stripe has no object for a payment.

    The page's address never reached the buyer, so nobody can pay it: after its time it has expired.
    """
    is_over = payment.expires_at is not None and now > payment.expires_at + _LOST_AFTER
    return {"state": "expired" if is_over else payment.state}


async def _post(connection: AsyncConnection, before: Payment, after: Payment) -> None:
    """Post the difference between what is desired and what was posted."""
    if after.posted_nanos != before.posted_nanos:
        await post(
            connection,
            after.organization_id,
            after.id,
            credit_nanos=after.credit_nanos,
            posted_nanos=before.posted_nanos,
            desired_nanos=after.posted_nanos,
            number=after.postings,
        )
    if after.tax_posted_nanos != before.tax_posted_nanos:
        delta = after.tax_posted_nanos - before.tax_posted_nanos
        await books.post_tax(connection, after.id, delta, after.postings)


async def _book(connection: AsyncConnection, payment: Payment, found: Facts) -> None:
    """Enter Stripe's balance transactions, each once."""
    for part in sorted(found.transactions, key=lambda part: (part.created, part.id)):
        if part.currency == CURRENCY:
            await books.post_transaction(
                connection,
                payment.id,
                books.Transaction(
                    id=part.id,
                    type=part.type,
                    gross_cents=part.amount,
                    fee_cents=part.fee,
                    created_at=datetime.fromtimestamp(part.created, UTC),
                ),
            )


async def _freeze(connection: AsyncConnection, payment: Payment, found: Facts) -> None:
    """Freeze the account until a bank has decided; lift only the freeze of this payment."""
    organization_id = payment.organization_id
    if found.has_open_dispute:
        await freezes.freeze(
            connection, organization_id, "dispute", ref=payment.id, reason="a payment is disputed"
        )
    elif found.disputes:
        await freezes.lift(connection, organization_id, "dispute", ref=payment.id)


async def _store_refund(
    connection: AsyncConnection, payment: Payment, refund: StripeRefund, now: datetime
) -> None:
    """Write the state of a refund: ours, or one that was made at Stripe."""
    ours = (refund.metadata or {}).get("refund", "")
    same = payment_refunds.c.refund_id == refund.id
    if is_id(ours):
        same |= payment_refunds.c.id == ours
    known = await connection.scalar(
        select(payment_refunds.c.id).where(payment_refunds.c.payment_id == payment.id, same)
    )
    state = refund.status or "pending"
    if known is not None:
        await connection.execute(
            update(payment_refunds)
            .where(
                payment_refunds.c.id == known,
                or_(payment_refunds.c.state != state, payment_refunds.c.refund_id.is_(None)),
            )
            .values(state=state, refund_id=refund.id, changed_at=now)
        )
        return
    await connection.execute(
        insert_into(connection, payment_refunds).values(
            id=new_id(),
            payment_id=payment.id,
            amount_cents=refund.amount,
            reason=f"at Stripe: {refund.reason or 'no reason given'}"[:_REASON_MAX],
            state=state,
            refund_id=refund.id,
            created_at=datetime.fromtimestamp(refund.created, UTC),
            changed_at=now,
        )
    )


async def _store_dispute(
    connection: AsyncConnection, payment: Payment, dispute: StripeDispute, now: datetime
) -> None:
    due_by = dispute.evidence_details.due_by if dispute.evidence_details else None
    values: dict[str, Any] = {
        "status": dispute.status,
        "reason": dispute.reason[:_REASON_MAX],
        "amount_cents": dispute.amount,
        "evidence_due_at": datetime.fromtimestamp(due_by, UTC) if due_by else None,
        "changed_at": now,
    }
    statement = insert_into(connection, payment_disputes).values(
        id=dispute.id,
        payment_id=payment.id,
        created_at=datetime.fromtimestamp(dispute.created, UTC),
        **values,
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_=values,
            where=or_(
                payment_disputes.c.status != dispute.status,
                payment_disputes.c.amount_cents != dispute.amount,
            ),
        )
    )


async def _tell(connection: AsyncConnection, payment: Payment, now: datetime) -> None:
    """Tell the organization that it was credited."""
    data = {
        "payment_id": payment.id,
        "credit_nanos": payment.credit_nanos,
        "amount_cents": payment.amount_cents,
        "tax_cents": payment.tax_cents,
        "origin": payment.origin,
    }
    notice = Notice("payment.credited", f"payment:{payment.id}", data, now)
    await notices.publish(connection, payment.organization_id, notice)
