"""What Stripe says of a payment, and the credit that follows from it.

`read` asks Stripe; `desired` is a pure function of the answer. Events decide nothing: in whatever
order they come, how often, or not at all, a payment is worth what Stripe's objects say now.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gateway.control_plane.payments.declines import decline
from gateway.control_plane.payments.payments import CENT_NANOS, Payment, State
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeRefused
from gateway.control_plane.payments.stripe_objects import (
    StripeCard,
    StripeDispute,
    StripeIntent,
    StripeInvoice,
    StripeRefund,
    StripeSession,
    StripeTransaction,
)

CURRENCY = "usd"

TAKES_BACK = frozenset({"succeeded", "pending", "requires_action"})
"""States in which a refund counts: one that failed or was canceled gave nothing back."""
DISPUTED = frozenset({"needs_response", "under_review", "lost"})
"""States in which a dispute counts: inquiries (`warning_...`) and won ones hold no money."""
OPEN_DISPUTES = frozenset({"needs_response", "under_review"})
"""States in which a dispute freezes the account."""
DECIDED = frozenset({"won", "lost", "warning_closed", "prevented"})
"""States in which a dispute, or an inquiry that may become one, stays as it is."""
_CHARGES = ("charge", "payment")
"""Types of the balance transaction by which money came in."""

_TEXT_MAX = 500
_UNPAID = "requires_payment_method"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What Stripe says of a payment at one moment."""

    state: State
    session_id: str | None = None
    intent_id: str | None = None
    charge_id: str | None = None
    customer_id: str | None = None
    payment_method_id: str | None = None
    currency: str = CURRENCY
    live: bool = False
    received_cents: int = 0
    tax_cents: int = 0
    refunds: list[StripeRefund] = []
    disputes: list[StripeDispute] = []
    transactions: list[StripeTransaction] = []
    card: StripeCard | None = None
    failure_code: str = ""
    failure_reason: str = ""
    invoice_number: str = ""
    invoice_url: str = ""
    receipt_url: str = ""
    tax_id: str = ""
    country: str = ""

    @property
    def refunded_cents(self) -> int:
        """Return what was or is being given back."""
        return sum(refund.amount for refund in self.refunds if refund.status in TAKES_BACK)

    @property
    def disputed_cents(self) -> int:
        """Return what banks hold or took back."""
        return sum(dispute.amount for dispute in self.disputes if dispute.status in DISPUTED)

    @property
    def has_open_dispute(self) -> bool:
        """Whether a bank has yet to decide."""
        return any(dispute.status in OPEN_DISPUTES for dispute in self.disputes)

    @property
    def has_undecided_dispute(self) -> bool:
        """Whether a dispute, or an inquiry, may still become something else."""
        return any(dispute.status not in DECIDED for dispute in self.disputes)

    @property
    def is_booked(self) -> bool:
        """Whether Stripe has entered the money in its balance, which may come later."""
        return any(part.type in _CHARGES for part in self.transactions)

    @property
    def has_open_refund(self) -> bool:
        """Whether a refund may still fail."""
        return any(refund.status in ("pending", "requires_action") for refund in self.refunds)


class Desired(NamedTuple):
    """What the ledger should hold for a payment: never more than Stripe received for it."""

    credit_nanos: int
    tax_nanos: int
    attention: str = ""
    """What an operator must look at, in words; empty for nothing."""


def desired(facts: Facts, payment: Payment) -> Desired:
    """Return the credit and the tax that a payment is worth.

    A payment that came in whole is worth the credit of our row, whatever its tax. One that came in
    short is worth what came in less the tax. What went back lowers both in proportion, and rounding
    costs the buyer less than a nano-dollar.
    """
    if facts.state != "paid" or facts.received_cents <= 0:
        return Desired(0, 0)
    if facts.currency != CURRENCY:
        return Desired(0, 0, f"It was paid in {facts.currency}, not in {CURRENCY}.")
    if facts.live != payment.live:
        return Desired(0, 0, "It was paid in another mode than it was started in.")
    received = facts.received_cents * CENT_NANOS
    tax = min(facts.tax_cents * CENT_NANOS, received)
    base = min(payment.credit_nanos, received - tax)
    back = facts.refunded_cents + facts.disputed_cents
    kept = max(facts.received_cents - back, 0) * CENT_NANOS
    credit = base * kept // received
    # no remainder: what was received is credit or tax to the last nano-dollar
    tax_kept = kept - credit if base + tax == received else tax * kept // received
    return Desired(credit, tax_kept, _attention(facts, payment))


def _attention(facts: Facts, payment: Payment) -> str:
    expected = payment.amount_cents + facts.tax_cents
    received, back = facts.received_cents, facts.refunded_cents + facts.disputed_cents
    if received != expected:
        return f"Received {_dollars(received)} instead of {_dollars(expected)}."
    if back > received:
        return f"{_dollars(back)} went back or is disputed, of {_dollars(received)} received."
    foreign = {part.currency for part in facts.transactions} - {CURRENCY}
    if foreign:
        return f"Stripe keeps its balance in {', '.join(sorted(foreign))}: the books lack it."
    return ""


def _dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"


async def read(api: StripeApi, payment: Payment) -> Facts | None:
    """Ask Stripe about a payment; None if it has no object for it yet. Raises StripeFailure.

    An object whose metadata names another payment is refused, even if our row has its id.
    """
    session = await _session(api, payment)
    _check_named(payment, session)
    intent_id = payment.intent_id or (session.payment_intent if session else None)
    if intent_id is None:
        return _of_session(session, payment) if session else None
    intent = await api.intent(intent_id)
    _check_named(payment, intent)
    refunds = await api.refunds(intent_id) if intent.amount_received else []
    disputes = await api.disputes(intent_id) if intent.amount_received else []
    return _facts(payment, session, intent, refunds, disputes)


def _check_named(payment: Payment, found: StripeIntent | StripeSession | None) -> None:
    if found is None:
        return
    named = (found.metadata or {}).get("payment_id")
    if named and named != payment.id:
        raise StripeRefused(f"{found.id} is of the payment {named}", code="of_another_payment")


async def _session(api: StripeApi, payment: Payment) -> StripeSession | None:
    if payment.session_id is not None:
        return await api.session(payment.session_id)
    if payment.origin == "found" and payment.intent_id is not None:
        listed = await api.sessions(intent_id=payment.intent_id)
        return await api.session(listed[0].id) if listed else None
    return None


def _of_session(session: StripeSession, payment: Payment) -> Facts:
    """Return the facts of a checkout that nobody has tried to pay yet."""
    return Facts(
        state="expired" if session.status == "expired" else "open",
        session_id=session.id,
        customer_id=session.customer,
        live=session.livemode,
        tax_cents=payment.tax_cents,
    )


def _facts(
    payment: Payment,
    session: StripeSession | None,
    intent: StripeIntent,
    refunds: list[StripeRefund],
    disputes: list[StripeDispute],
) -> Facts:
    charge, failure = intent.charge, intent.last_payment_error
    details = charge.payment_method_details if charge else None
    return Facts(
        state=_state(payment, intent, session),
        session_id=session.id if session else None,
        intent_id=intent.id,
        charge_id=charge.id if charge else None,
        customer_id=intent.customer,
        payment_method_id=intent.payment_method,
        currency=intent.currency,
        live=intent.livemode,
        received_cents=intent.amount_received,
        tax_cents=_tax(payment, session, intent),
        refunds=refunds,
        disputes=disputes,
        transactions=_transactions(intent, refunds, disputes),
        card=details.card if details else None,
        failure_code=decline(failure.code or "", failure.decline_code or "") if failure else "",
        failure_reason=(failure.message or "")[:_TEXT_MAX] if failure else "",
        receipt_url=(charge.receipt_url or "") if charge else "",
        **_invoice(session),
        country=_country(intent, session),
    )


def _state(payment: Payment, intent: StripeIntent, session: StripeSession | None) -> State:
    if intent.status == "succeeded":
        return "paid"
    if intent.status == "processing":
        return "processing"
    if payment.origin == "auto" and payment.state == "failed":
        return "failed"  # for a reason that our job knows; it cancels what waits for a cardholder
    if session is not None:
        return _unpaid(intent, session)
    if intent.status == "canceled":
        return "canceled"
    # nobody is there to try another card
    return "failed" if intent.status == _UNPAID and intent.last_payment_error else "open"


def _unpaid(intent: StripeIntent, session: StripeSession) -> State:
    """Return the state of a checkout that brought no money."""
    if session.status == "expired":
        return "expired"
    if intent.status == "canceled":
        return "canceled"
    # a finished checkout can't be paid again: its slow payment has failed
    return "failed" if session.status == "complete" and intent.status == _UNPAID else "open"


def _tax(payment: Payment, session: StripeSession | None, intent: StripeIntent) -> int:
    if session is not None:
        return session.total_details.amount_tax if session.total_details else 0
    if payment.origin == "found":
        return max(intent.amount - payment.amount_cents, 0)
    return payment.tax_cents


def _invoice(session: StripeSession | None) -> dict[str, str]:
    """Return what a receipt needs of the invoice and of the buyer's tax number."""
    invoice = session.invoice if session else None
    buyer = session.customer_details if session else None
    numbers = [number.value for number in (buyer.tax_ids or []) if number.value] if buyer else []
    found = {"tax_id": numbers[0] if numbers else ""}
    if isinstance(invoice, StripeInvoice):
        found["invoice_number"] = invoice.number or ""
        found["invoice_url"] = invoice.hosted_invoice_url or ""
    return found


def _country(intent: StripeIntent, session: StripeSession | None) -> str:
    buyer = session.customer_details if session else None
    billing = intent.charge.billing_details if intent.charge else None
    for address in (buyer and buyer.address, billing and billing.address):
        if address and address.country:
            return address.country
    return ""


def _transactions(
    intent: StripeIntent, refunds: list[StripeRefund], disputes: list[StripeDispute]
) -> list[StripeTransaction]:
    """Return all balance transactions of a payment, each once."""
    charge = intent.charge
    parts = [charge.balance_transaction, charge.failure_balance_transaction] if charge else []
    for refund in refunds:
        parts += [refund.balance_transaction, refund.failure_balance_transaction]
    for dispute in disputes:
        parts += dispute.balance_transactions
    found = {part.id: part for part in parts if isinstance(part, StripeTransaction)}
    return list(found.values())
