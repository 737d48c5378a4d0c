"""Payments that operators give up, because Stripe no longer shows them.

What was credited stays. If Stripe shows such a payment after all, it is read like any other.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import NoSuchPayment, Payment
from gateway.identifiers import is_id
from gateway.storage.ledger import freezes
from gateway.storage.ledger.postings import database_now

log = structlog.get_logger()

ABANDONED = "abandoned"
"""`failure_code` of a payment that was given up while it was unfinished."""
_REASON_MAX = 500


async def abandon(connection: AsyncConnection, payment_id: str, reason: str) -> Payment:
    """Cancel a payment if it is unfinished, stop reading it, and lift its dispute's freeze.

    Raises NoSuchPayment.
    """
    payment = await payments.lock(connection, payment_id) if is_id(payment_id) else None
    if payment is None:
        raise NoSuchPayment(f"There is no payment {payment_id[:80]!r}.")
    now = await database_now(connection)
    values: dict[str, Any] = {"due_at": None, "attention": "", "seen": payment.attention}
    if payment.is_unfinished:
        values |= {
            "state": "canceled",
            "failure_code": ABANDONED,
            "failure_reason": reason[:_REASON_MAX],
            "changed_at": now,
        }
    await payments.change(connection, payment.id, values)
    lifted = await freezes.lift(connection, payment.organization_id, "dispute", ref=payment.id)
    log.warning("a payment was given up", payment=payment.id, reason=reason, freeze_lifted=lifted)
    return await payments.find(connection, payment.id)
