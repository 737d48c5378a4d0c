"""Stripe's objects, with only the fields that we use, under Stripe's own names.

What names or locates a person is not among them, so it reaches neither our tables nor our logs. A
field that Stripe expands only on request is an id or the object.
"""

from __future__ import annotations

import msgspec
from msgspec import field


class StripeTransaction(msgspec.Struct, frozen=True):
    """A balance transaction: what moved our balance at Stripe, in cents, and its fee."""

    id: str
    type: str
    amount: int
    fee: int
    currency: str
    created: int


class StripeSource(msgspec.Struct, frozen=True):
    """What a balance transaction is about: a charge, a refund, a dispute, or something else."""

    id: str
    payment_intent: str | None = None


class StripeMovement(msgspec.Struct, frozen=True):
    """A balance transaction in the list of all of them, with what it is about."""

    id: str
    type: str
    source: str | StripeSource | None = None

    @property
    def intent_id(self) -> str | None:
        """Return the payment intent behind it, if there is one."""
        return self.source.payment_intent if isinstance(self.source, StripeSource) else None


class StripeCard(msgspec.Struct, frozen=True):
    """What is kept of a card."""

    brand: str | None = None
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None
    fingerprint: str | None = None
    country: str | None = None

    @property
    def expires(self) -> str:
        """Return the month in which it expires, YYYY-MM; empty when that is unknown."""
        if not self.exp_year or not self.exp_month:
            return ""
        return f"{self.exp_year:04d}-{self.exp_month:02d}"


class StripeMethodDetails(msgspec.Struct, frozen=True):
    """How a charge was paid."""

    card: StripeCard | None = None


class StripeAddress(msgspec.Struct, frozen=True):
    """The country of an address, and nothing else of it."""

    country: str | None = None


class StripeBilling(msgspec.Struct, frozen=True):
    """The payer of a charge, of whom only the country is read."""

    address: StripeAddress | None = None


class StripeCharge(msgspec.Struct, frozen=True):
    """One attempt to take money."""

    id: str
    status: str = ""
    payment_intent: str | None = None
    receipt_url: str | None = None
    balance_transaction: str | StripeTransaction | None = None
    failure_balance_transaction: str | StripeTransaction | None = None
    payment_method_details: StripeMethodDetails | None = None
    billing_details: StripeBilling | None = None


class StripePaymentError(msgspec.Struct, frozen=True):
    """Why the last attempt of an intent failed."""

    code: str | None = None
    decline_code: str | None = None
    message: str | None = None


class StripeIntent(msgspec.Struct, frozen=True):
    """A payment intent: money that is to be taken, and how far that has come."""

    id: str
    status: str
    amount: int
    currency: str
    livemode: bool
    created: int = 0
    amount_received: int = 0
    customer: str | None = None
    payment_method: str | None = None
    latest_charge: str | StripeCharge | None = None
    last_payment_error: StripePaymentError | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def charge(self) -> StripeCharge | None:
        """Return the last charge, where it was asked for."""
        return self.latest_charge if isinstance(self.latest_charge, StripeCharge) else None


class StripeInvoice(msgspec.Struct, frozen=True):
    """The invoice of a finished checkout."""

    id: str
    number: str | None = None
    hosted_invoice_url: str | None = None


class StripeTotals(msgspec.Struct, frozen=True):
    """What is added to a session's amount."""

    amount_tax: int = 0


class StripeTaxId(msgspec.Struct, frozen=True):
    """A buyer's tax number."""

    type: str = ""
    value: str | None = None


class StripeBuyer(msgspec.Struct, frozen=True):
    """What a receipt needs to say of a buyer."""

    address: StripeAddress | None = None
    tax_ids: list[StripeTaxId] | None = None


class StripeSession(msgspec.Struct, frozen=True):
    """A checkout: a page of Stripe's where something is paid."""

    id: str
    livemode: bool
    created: int = 0
    expires_at: int | None = None
    status: str | None = None
    payment_status: str = ""
    url: str | None = None
    customer: str | None = None
    payment_intent: str | None = None
    invoice: str | StripeInvoice | None = None
    total_details: StripeTotals | None = None
    customer_details: StripeBuyer | None = None
    metadata: dict[str, str] | None = None


class StripeRefund(msgspec.Struct, frozen=True):
    """Money on its way back to a buyer."""

    id: str
    amount: int
    created: int = 0
    status: str | None = None
    reason: str | None = None
    payment_intent: str | None = None
    balance_transaction: str | StripeTransaction | None = None
    failure_balance_transaction: str | StripeTransaction | None = None
    metadata: dict[str, str] | None = None


class StripeEvidence(msgspec.Struct, frozen=True):
    """Until when a dispute may be answered."""

    due_by: int | None = None


class StripeDispute(msgspec.Struct, frozen=True):
    """A buyer's bank asks for the money back."""

    id: str
    amount: int
    status: str
    reason: str = ""
    created: int = 0
    payment_intent: str | None = None
    balance_transactions: list[StripeTransaction] = field(default_factory=list)
    evidence_details: StripeEvidence | None = None


class StripeWarning(msgspec.Struct, frozen=True):
    """An early fraud warning from a card network."""

    id: str
    fraud_type: str = ""
    actionable: bool = False
    payment_intent: str | None = None


class StripeCustomer(msgspec.Struct, frozen=True):
    """A customer; of a deleted one, Stripe says only that."""

    id: str
    deleted: bool = False
    metadata: dict[str, str] | None = None


class StripePaymentMethod(msgspec.Struct, frozen=True):
    """A means of paying; without a customer it is not saved."""

    id: str
    type: str = ""
    customer: str | None = None
    card: StripeCard | None = None


class StripePortal(msgspec.Struct, frozen=True):
    """A visit to the customer portal."""

    url: str


class StripeTax(msgspec.Struct, frozen=True):
    """A tax calculation, in cents."""

    id: str
    amount_total: int
    tax_amount_exclusive: int
    tax_amount_inclusive: int = 0
