"""Test cards and other means of payment: what each does when it is charged.

The numbers and tokens are Stripe's own test ones; a plain word works too.
"""

import hashlib
from dataclasses import dataclass

GOOD = "good"
DECLINED = "declined"
INSUFFICIENT_FUNDS = "insufficient_funds"
EXPIRED = "expired_card"
AUTHENTICATION = "authentication_required"
BANK_DEBIT = "bank_debit"
REFUSED_LATER = "refused_later"
BEHAVIORS = (
    GOOD,
    DECLINED,
    INSUFFICIENT_FUNDS,
    EXPIRED,
    AUTHENTICATION,
    BANK_DEBIT,
    REFUSED_LATER,
)
"""`refused_later` can be saved, and is declined when it is charged while nobody is there."""


@dataclass(frozen=True)
class TestCard:
    """A number, and how it behaves."""

    number: str
    token: str
    behavior: str
    brand: str = "visa"

    @property
    def fingerprint(self) -> str:
        """Name the number without telling it: the same in each payment method."""
        return hashlib.sha256(self.number.encode()).hexdigest()[:16]


CARDS = (
    TestCard("4242424242424242", "pm_card_visa", GOOD),
    TestCard("5555555555554444", "pm_card_mastercard", GOOD, "mastercard"),
    TestCard("4000000000000002", "pm_card_visa_chargeDeclined", DECLINED),
    TestCard(
        "4000000000009995", "pm_card_visa_chargeDeclinedInsufficientFunds", INSUFFICIENT_FUNDS
    ),
    TestCard("4000000000000069", "pm_card_chargeDeclinedExpiredCard", EXPIRED),
    TestCard("4000002760003184", "pm_card_authenticationRequired", AUTHENTICATION),
    TestCard("4000000000000341", "pm_card_chargeCustomerFail", REFUSED_LATER),
    TestCard("000123456789", "pm_usBankAccount", BANK_DEBIT, ""),
)


def find(name: str) -> TestCard | None:
    """Find a card by number, token or behavior."""
    return next((card for card in CARDS if name in {card.number, card.token, card.behavior}), None)


@dataclass(frozen=True)
class Decline:
    """Why a charge is refused, in Stripe's words."""

    code: str
    decline_code: str
    message: str


DECLINES = {
    DECLINED: Decline("card_declined", "generic_decline", "Your card was declined."),
    REFUSED_LATER: Decline("card_declined", "generic_decline", "Your card was declined."),
    INSUFFICIENT_FUNDS: Decline(
        "card_declined", "insufficient_funds", "Your card has insufficient funds."
    ),
    EXPIRED: Decline("expired_card", "expired_card", "Your card has expired."),
    AUTHENTICATION: Decline(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
    BANK_DEBIT: Decline(
        "payment_method_provider_decline", "generic_decline", "The bank refused the debit."
    ),
}


def decline(behavior: str, *, is_present: bool) -> Decline | None:
    """Say why a charge fails now, if it does; whoever is present can authenticate."""
    if behavior in {GOOD, BANK_DEBIT} or (
        is_present and behavior in {AUTHENTICATION, REFUSED_LATER}
    ):
        return None
    return DECLINES[behavior]
