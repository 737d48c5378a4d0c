"""The end of an auto top-up: its consequences for the card, and the notice to the organization.

`note` belongs in the transaction in which the attempt ends, so that the row, the breaker and the
notice are written together or not at all. Webhooks and mails follow from the notice, whose `ref`
names the attempt, so that none is announced twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.alerts.notices import Notice, publish
from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.payments.auto_top_up import NO_DECLINE, Standing
from gateway.control_plane.payments.declines import AUTHENTICATION
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.money import money
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import payment_customers

_TOLD_CAUSES = ("expired_card", "insufficient_funds", "lost_card", "stolen_card")
"""Causes of a decline that an owner can act on; the others would not help."""


class MonthLimit(NamedTuple):
    """The limit that an attempt would pass, in cents without tax."""

    month: datetime
    amount_cents: int
    cents_max: int


async def note(connection: AsyncConnection, payment: Payment) -> None:
    """Note that a payment whose row is written ended: paid or failed.

    A paid one proves its card. When a person's own payment fails, Stripe's page has told them.
    """
    organization_id = payment.organization_id
    await auto_top_up.reassess(connection, organization_id)
    if payment.state != "failed" or payment.origin != "auto":
        return
    standing = await auto_top_up.standing(connection, organization_id, payment.card_fingerprint)
    brand, last_four = await _card(connection, payment)
    again = standing.not_before
    data: dict[str, Any] = {
        "payment_id": payment.id,
        "amount_cents": payment.amount_cents,
        "reason": _reason(payment.failure_code, standing),
        "message": payment.failure_reason,
        "cause": payment.failure_code if payment.failure_code in _TOLD_CAUSES else "",
        "card_brand": brand,
        "card_last_four": last_four,
        "next_attempt_at": again.isoformat() if again else None,
    }
    await _tell(connection, organization_id, f"auto-top-up:{payment.id}", data)


async def limit_reached(
    connection: AsyncConnection, organization_id: str, limit: MonthLimit
) -> None:
    """Tell an organization that its limit stops auto top-up, once for each month and limit."""
    amount, month = money(limit.amount_cents * CENT_NANOS), money(limit.cents_max * CENT_NANOS)
    data = {
        "payment_id": None,
        "amount_cents": limit.amount_cents,
        "reason": "limit",
        "message": f"Buying {amount} more would pass the limit of {month} for this month.",
        "month_cents_max": limit.cents_max,
    }
    ref = f"auto-top-up-limit:{organization_id}:{limit.month:%Y-%m}:{limit.cents_max}"
    await _tell(connection, organization_id, ref, data)


async def _tell(
    connection: AsyncConnection, organization_id: str, ref: str, data: dict[str, Any]
) -> None:
    now = await database_now(connection)
    await publish(connection, organization_id, Notice("auto_top_up.failed", ref, data, now))


def _reason(failure_code: str, standing: Standing) -> str:
    """Return the kind of a failure; see `alerts.notices`."""
    if failure_code == AUTHENTICATION:
        return "authentication"
    if failure_code in NO_DECLINE:
        return "error"
    return "stopped" if standing.paused == "declined" else "declined"


async def _card(connection: AsyncConnection, payment: Payment) -> tuple[str, str]:
    """Return the brand and last digits of a payment's card; empty if it was replaced since."""
    saved = payment_customers.c
    found = await connection.execute(
        select(saved.card_brand, saved.card_last_four).where(
            saved.organization_id == payment.organization_id,
            saved.payment_method_id == payment.payment_method_id,
        )
    )
    card = found.one_or_none()
    return (card.card_brand, card.card_last_four) if card else ("", "")
