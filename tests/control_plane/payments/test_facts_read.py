"""What Stripe's objects say of a payment, by table: its state, its tax, what a receipt needs."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.control_plane.payments.facts import Facts, read
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.stripe_failures import StripeRefused
from gateway.control_plane.payments.stripe_objects import (
    StripeAddress,
    StripeBilling,
    StripeBuyer,
    StripeCharge,
    StripeDispute,
    StripeIntent,
    StripeInvoice,
    StripePaymentError,
    StripeRefund,
    StripeSession,
    StripeTaxId,
    StripeTotals,
    StripeTransaction,
)
from tests.control_plane.payments.test_facts import dispute, paid, payment, refund

pytestmark = pytest.mark.sqlite

UNPAID = "requires_payment_method"
DECLINED = StripePaymentError(code="card_declined", message="No.")


class Said:
    """A Stripe that says what a test says, and keeps what it was asked."""

    def __init__(
        self,
        intent: StripeIntent | None,
        session: StripeSession | None,
        refunds: Sequence[StripeRefund] = (),
        disputes: Sequence[StripeDispute] = (),
    ) -> None:
        self._intent, self._session = intent, session
        self._refunds, self._disputes = list(refunds), list(disputes)
        self.asked: list[str] = []

    async def session(self, session_id: str) -> StripeSession | None:
        self.asked.append(session_id)
        return self._session

    async def sessions(self, *, intent_id: str) -> list[StripeSession]:
        self.asked.append(f"of {intent_id}")
        return [self._session] if self._session else []

    async def intent(self, intent_id: str) -> StripeIntent | None:
        self.asked.append(intent_id)
        return self._intent

    async def refunds(self, _intent_id: str) -> list[StripeRefund]:
        return self._refunds

    async def disputes(self, _intent_id: str) -> list[StripeDispute]:
        return self._disputes


def intent(status: str = "succeeded", amount: int = 1000, **values: Any) -> StripeIntent:
    return StripeIntent("pi_1", status, amount, "usd", livemode=False, **values)


def session(status: str = "complete", **values: Any) -> StripeSession:
    values = {"payment_intent": "pi_1", **values}
    return StripeSession("cs_1", livemode=False, status=status, **values)


async def facts(
    row: Payment, intent: StripeIntent | None, session: StripeSession | None = None, **more: Any
) -> Facts:
    said: Any = Said(intent, session, **more)
    found = await read(said, row)
    assert found
    return found


def checkout(**values: Any) -> Payment:
    return payment(session_id="cs_1", **values)


def auto(**values: Any) -> Payment:
    return payment(**{"origin": "auto", "intent_id": "pi_1", **values})


@pytest.mark.parametrize(
    ("row", "intent", "session", "state"),
    [
        (checkout(), None, session("open", payment_intent=None), "open"),
        (checkout(), None, session("expired", payment_intent=None), "expired"),
        (checkout(), intent(), session("expired"), "paid"),
        (checkout(), intent("processing"), session(), "processing"),
        (checkout(), intent("canceled"), session("expired"), "expired"),
        (checkout(), intent("canceled"), session("open"), "canceled"),
        # a page that is open can be paid with another card, one that is finished can't
        (checkout(state="failed"), intent(UNPAID), session("open"), "open"),
        (checkout(), intent(UNPAID, last_payment_error=DECLINED), session("open"), "open"),
        (checkout(), intent(UNPAID), session(), "failed"),
        (checkout(), intent("requires_action"), session(), "open"),
        # nobody is there
        (auto(), intent("canceled"), None, "canceled"),
        (auto(), intent(UNPAID, last_payment_error=DECLINED), None, "failed"),
        (auto(), intent(UNPAID), None, "open"),
        (auto(), intent("requires_action", last_payment_error=DECLINED), None, "open"),
        # for a reason that our job knows, unless it was paid after all
        (auto(state="failed"), intent("requires_action"), None, "failed"),
        (auto(state="failed"), intent(), None, "paid"),
    ],
)
async def test_state(
    row: Payment, intent: StripeIntent | None, session: StripeSession | None, state: str
):
    assert (await facts(row, intent, session)).state == state


@pytest.mark.parametrize(
    ("row", "session", "cents"),
    [
        (checkout(tax_cents=7), session(total_details=StripeTotals(190)), 190),
        (checkout(tax_cents=7), session(), 0),
        (auto(tax_cents=7), None, 7),
        (auto(origin="found", tax_cents=7), None, 200),  # what is over the amount of our row
        (auto(origin="found", cents=1500), None, 0),
    ],
)
async def test_tax(row: Payment, session: StripeSession | None, cents: int):
    assert (await facts(row, intent(amount=1200), session)).tax_cents == cents


@pytest.mark.parametrize(
    ("row", "session", "asked"),
    [
        (checkout(), session(payment_intent="pi_2"), ["cs_1", "pi_2"]),
        (checkout(intent_id="pi_1"), session(payment_intent="pi_2"), ["cs_1", "pi_1"]),
        (checkout(), session(payment_intent=None), ["cs_1"]),
        (auto(), session(), ["pi_1"]),
        (auto(origin="found"), session(), ["of pi_1", "cs_1", "pi_1"]),
        (auto(origin="found"), None, ["of pi_1", "pi_1"]),
        (auto(origin="found", intent_id=None), session(), []),
    ],
)
async def test_what_is_asked(row: Payment, session: StripeSession | None, asked: list[str]):
    said = Said(intent(), session)
    api: Any = said
    found = await read(api, row)
    assert said.asked == asked
    assert (found is None) is (not asked)


@pytest.mark.parametrize("named", [{}, {"payment_id": ""}, {"payment_id": "own"}, None])
async def test_what_names_no_other_payment_is_its_own(named: dict[str, str] | None):
    row = checkout()
    if named == {"payment_id": "own"}:
        named = {"payment_id": row.id}
    assert (await facts(row, intent(metadata=named or {}), session(metadata=named))).state == "paid"


@pytest.mark.parametrize("kind", ["intent", "session"])
async def test_what_names_another_payment_is_refused(kind: str):
    other = {"payment_id": "another"}
    said = (
        intent(metadata=other if kind == "intent" else {}),
        session(metadata=other if kind == "session" else None),
    )
    with pytest.raises(StripeRefused, match="is of the payment another"):
        await facts(checkout(), *said)


@pytest.mark.parametrize(
    ("buyer", "billing", "country"),
    [
        (StripeBuyer(StripeAddress("DE")), StripeBilling(StripeAddress("FR")), "DE"),
        (StripeBuyer(StripeAddress()), StripeBilling(StripeAddress("FR")), "FR"),
        (StripeBuyer(), StripeBilling(StripeAddress("FR")), "FR"),
        (None, StripeBilling(StripeAddress("FR")), "FR"),
        (None, StripeBilling(), ""),
        (None, None, ""),
    ],
)
async def test_country(buyer: StripeBuyer | None, billing: StripeBilling | None, country: str):
    charge = StripeCharge("ch_1", billing_details=billing)
    said = intent(latest_charge=charge), session(customer_details=buyer)
    assert (await facts(checkout(), *said)).country == country


async def test_what_a_receipt_needs():
    bare = session(invoice=StripeInvoice("in_1"), customer_details=StripeBuyer())
    found = await facts(checkout(), intent(latest_charge=StripeCharge("ch_1")), bare)
    nothing = ("", "", "", "")
    assert (
        found.invoice_number, found.invoice_url, found.tax_id, found.receipt_url
    ) == nothing  # fmt: skip
    numbers = [StripeTaxId("eu_vat"), StripeTaxId("eu_vat", "DE1"), StripeTaxId("eu_vat", "DE2")]
    whole = session(
        invoice=StripeInvoice("in_1", "A-1", "https://invoice"),
        customer_details=StripeBuyer(tax_ids=numbers),
    )
    charge = StripeCharge("ch_1", receipt_url="https://receipt")
    found = await facts(checkout(), intent(latest_charge=charge), whole)
    assert (found.invoice_number, found.invoice_url) == ("A-1", "https://invoice")
    assert (found.tax_id, found.receipt_url) == ("DE1", "https://receipt")
    unexpanded = await facts(checkout(), intent(latest_charge="ch_1"), session(invoice="in_1"))
    assert (unexpanded.invoice_number, unexpanded.receipt_url) == ("", "")


async def test_why_it_failed():
    error = StripePaymentError("card_declined", "insufficient_funds", "x" * 600)
    found = await facts(auto(), intent(UNPAID, last_payment_error=error))
    assert (found.failure_code, found.failure_reason) == ("insufficient_funds", "x" * 500)
    found = await facts(auto(), intent(UNPAID, last_payment_error=DECLINED))
    assert (found.failure_code, found.failure_reason) == ("card_declined", "No.")
    found = await facts(auto(), intent(UNPAID, last_payment_error=StripePaymentError()))
    assert (found.failure_code, found.failure_reason) == ("", "")


async def test_each_movement_of_stripes_balance_is_there_once():
    def moved(name: str) -> StripeTransaction:
        return StripeTransaction(name, "charge", 1, 0, "usd", 0)

    charge = StripeCharge(
        "ch_1", balance_transaction=moved("a"), failure_balance_transaction=moved("b")
    )
    back = [
        StripeRefund("re_1", 1, balance_transaction=moved("c")),
        StripeRefund("re_2", 1, balance_transaction="d", failure_balance_transaction=moved("e")),
    ]
    held = [StripeDispute("dp_1", 1, "lost", balance_transactions=[moved("f"), moved("a")])]
    said = intent(latest_charge=charge, amount_received=1000)
    found = await facts(checkout(), said, session(), refunds=back, disputes=held)
    assert sorted(part.id for part in found.transactions) == ["a", "b", "c", "e", "f"]


def test_what_is_yet_to_be_decided():
    pending, done = refund(1, "pending"), refund(1)
    assert paid(refunds=[done, pending]).has_open_refund
    assert not paid(refunds=[done]).has_open_refund
    won, inquiry = dispute("won"), dispute("warning_needs_response")
    assert paid(disputes=[won, dispute("under_review")]).has_open_dispute
    assert not paid(disputes=[won, inquiry]).has_open_dispute
    assert paid(disputes=[won, inquiry]).has_undecided_dispute
    assert not paid(disputes=[won, dispute("lost")]).has_undecided_dispute
    parts = [StripeTransaction(kind, kind, 1, 0, "usd", 0) for kind in ("refund", "payment")]
    assert paid(transactions=parts).is_booked
    assert not paid(transactions=parts[:1]).is_booked
