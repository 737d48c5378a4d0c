"""What is said of a payment: the words of each state, and whether it may still change by itself."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.web.formats import cents

Mark = Literal["good", "warn", "bad", ""]


class Words(NamedTuple):
    """The state of a payment in words."""

    mark: Mark
    """The color of the badge."""
    name: str
    sentence: str
    detail: str = ""
    """What a list adds to the name."""
    changes_soon: bool = False
    """Whether to look again within seconds: the buyer, the card or we are about to act."""
    failed: bool = False


def words_of(payment: Payment) -> Words:
    """Describe a payment."""
    if payment.state == "paid":
        return _paid(payment)
    return _unpaid(payment)


def _paid(payment: Payment) -> Words:
    if payment.disputed_cents:
        return Words(
            "bad",
            "Disputed",
            "The cardholder disputed this payment with their bank. Its credit is withdrawn until "
            "the bank decides, and is given back if the bank rejects the dispute.",
        )
    if payment.refunded_cents >= payment.received_cents > 0:
        return Words("", "Refunded", "The payment was refunded, and its credit was withdrawn.")
    if payment.refunded_cents:
        back = cents(payment.refunded_cents)
        return Words(
            "",
            "Partly refunded",
            f"{back} was refunded, and that share of the credit was withdrawn.",
            detail=f"{back} refunded",
        )
    if not payment.posted_nanos:
        return Words(
            "warn",
            "Paid",
            "The payment arrived. Its credit is being added.",
            changes_soon=True,
        )
    return Words("good", "Credited", "The payment arrived, and its credit is in your balance.")


def _unpaid(payment: Payment) -> Words:
    match payment.state:
        case "processing":
            return Words(
                "warn",
                "Processing",
                "The bank is moving the money, which can take some days. The credit is added when "
                "the money arrives. You can leave this page.",
            )
        case "failed":
            reason = payment.failure_reason or "The payment was declined."
            return Words("bad", "Failed", f"{reason} Nothing was charged.", reason, failed=True)
        case "canceled":
            return Words(
                "", "Canceled", "The payment was canceled. Nothing was charged.", failed=True
            )
        case "expired":
            return Words(
                "",
                "Expired",
                "The payment page was open for too long. Nothing was charged.",
                failed=True,
            )
    if payment.origin == "auto":
        return Words("warn", "Pending", "The saved card is being charged.", changes_soon=True)
    return Words(
        "warn", "Pending", "We are waiting for Stripe to confirm the payment.", changes_soon=True
    )
