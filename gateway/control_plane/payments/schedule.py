"""When a payment is read again without any news of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.control_plane.payments.facts import Facts
from gateway.control_plane.payments.payments import Payment

YOUNG = timedelta(days=3)
"""How long a payment that may still move is read with every sweep."""
WATCHED = timedelta(days=120)
"""How long refunds and disputes of a payment are looked for without an event."""
DAILY = timedelta(days=1)

_REFUND_MAY_FAIL = timedelta(days=30)
"""How long a bank may still return a refund after it succeeded."""
_BOOKED_SOON = timedelta(seconds=60)
"""When a payment is read again that Stripe has not entered in its balance yet."""
_SOON = timedelta(minutes=30)
_FIRST_WAIT = timedelta(seconds=60)
_LONGEST_WAIT = timedelta(minutes=15)


def next_reading(
    payment: Payment, found: Facts | None, now: datetime, sweep: timedelta
) -> datetime | None:
    """Return when a payment is read again, given what is known now; None if it isn't."""
    if payment.state in ("expired", "canceled"):
        return None
    age = now - payment.created_at
    if age > WATCHED:
        return now + DAILY if found is not None and _is_unsettled(found, now) else None
    is_paid = found is not None and payment.state == "paid"
    if is_paid and found is not None and not found.is_booked and _is_new(payment, now):
        return now + min(_BOOKED_SOON, sweep)
    moves = payment.is_unfinished or (
        is_paid
        and found is not None
        and (not found.is_booked or found.has_open_refund or _lacks_invoice(payment))
    )
    return now + (sweep if moves and age < YOUNG else DAILY)


def after_failure(failures: int) -> timedelta:
    """Return the wait after so many failures in a row."""
    wait: timedelta = _FIRST_WAIT * 2 ** min(failures - 1, 8)
    return min(wait, _LONGEST_WAIT)


def _is_unsettled(found: Facts, now: datetime) -> bool:
    """Whether money may still move back or forth, however old the payment is."""
    newest = max((refund.created for refund in found.refunds), default=None)
    return (
        found.has_undecided_dispute
        or found.has_open_refund
        or (newest is not None and now - datetime.fromtimestamp(newest, UTC) < _REFUND_MAY_FAIL)
    )


def _is_new(payment: Payment, now: datetime) -> bool:
    return payment.paid_at is not None and now - payment.paid_at < _SOON


def _lacks_invoice(payment: Payment) -> bool:
    return payment.session_id is not None and not payment.invoice_number
