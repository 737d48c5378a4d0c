"""What a payment is worth, by table: never more than was received, and nothing left over."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control_plane.payments.facts import Facts, desired
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.control_plane.payments.stripe_objects import (
    StripeDispute,
    StripeRefund,
    StripeTransaction,
)
from gateway.identifiers import new_id
from testing.buying import Shop

pytestmark = pytest.mark.sqlite

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def payment(cents: int = 1000, **values: Any) -> Payment:
    chosen: dict[str, Any] = {"origin": "checkout", "state": "open", "live": False, **values}
    return Payment(
        id=new_id(), organization_id=new_id(), credit_nanos=cents * CENT_NANOS,
        amount_cents=cents, created_at=NOW, changed_at=NOW, **chosen,
    )  # fmt: skip


def paid(received: int = 1000, **values: Any) -> Facts:
    return Facts(state="paid", received_cents=received, **values)


def refund(amount: int, status: str | None = "succeeded") -> StripeRefund:
    return StripeRefund(id="re_1", amount=amount, created=0, status=status)


def dispute(status: str, amount: int = 1000) -> StripeDispute:
    return StripeDispute(id="dp_1", amount=amount, status=status, reason="", created=0)


def cents(facts: Facts, row: Payment | None = None) -> tuple[float, float]:
    found = desired(facts, row or payment())
    return found.credit_nanos / CENT_NANOS, found.tax_nanos / CENT_NANOS


@pytest.mark.parametrize(
    ("facts", "credit", "tax"),
    [
        (paid(), 1000, 0),
        (paid(1200, tax_cents=200), 1000, 200),
        # not succeeded, whatever an amount says
        (Facts(state="processing", received_cents=1000), 0, 0),
        (Facts(state="open"), 0, 0),
        (Facts(state="canceled", received_cents=1000), 0, 0),
        (Facts(state="failed"), 0, 0),
        (Facts(state="expired"), 0, 0),
        (paid(0), 0, 0),
        (paid(1), 1, 0),
        # less than was asked: what came in, without the tax
        (paid(600), 600, 0),
        (paid(600, tax_cents=200), 400, 200),
        (paid(100, tax_cents=200), 0, 100),
        # more than was asked: the credit of our row
        (paid(5000), 1000, 0),
        (paid(5200, tax_cents=200), 1000, 200),
        # another currency or mode is nobody's dollars
        (paid(currency="eur"), 0, 0),
        (paid(live=True), 0, 0),
        # refunds that took money, or may
        (paid(refunds=[refund(400)]), 600, 0),
        (paid(refunds=[refund(400, "pending")]), 600, 0),
        (paid(refunds=[refund(400, "requires_action")]), 600, 0),
        (paid(refunds=[refund(1000)]), 0, 0),
        (paid(1200, tax_cents=200, refunds=[refund(600)]), 500, 100),
        # refunds that gave nothing back
        (paid(refunds=[refund(400, "failed")]), 1000, 0),
        (paid(refunds=[refund(400, "canceled")]), 1000, 0),
        (paid(refunds=[refund(400, None)]), 1000, 0),
        (paid(refunds=[refund(400), refund(300, "failed"), refund(100)]), 500, 0),
        # disputes that hold the money, or lost it
        (paid(disputes=[dispute("needs_response")]), 0, 0),
        (paid(disputes=[dispute("under_review")]), 0, 0),
        (paid(disputes=[dispute("lost")]), 0, 0),
        (paid(disputes=[dispute("lost", 250)]), 750, 0),
        # inquiries, and disputes that are over
        (paid(disputes=[dispute("warning_needs_response")]), 1000, 0),
        (paid(disputes=[dispute("warning_under_review")]), 1000, 0),
        (paid(disputes=[dispute("warning_closed")]), 1000, 0),
        (paid(disputes=[dispute("won")]), 1000, 0),
        (paid(disputes=[dispute("prevented")]), 1000, 0),
        # both, more than there was
        (paid(refunds=[refund(700)], disputes=[dispute("lost", 700)]), 0, 0),
    ],
)
def test_desired(facts: Facts, credit: float, tax: float):
    assert cents(facts) == (credit, tax)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (paid(), ""),
        (paid(1200, tax_cents=200), ""),
        (paid(600), "Received $6.00 instead of $10.00."),
        (paid(5000), "Received $50.00 instead of $10.00."),
        (paid(currency="eur"), "It was paid in eur, not in usd."),
        (paid(live=True), "another mode"),
        (paid(refunds=[refund(1000)]), ""),
        (paid(refunds=[refund(700)], disputes=[dispute("lost", 700)]), "$14.00 went back"),
        (paid(transactions=[StripeTransaction("txn_1", "charge", 900, 30, "eur", 0)]), "in eur"),
    ],
)
def test_what_an_operator_must_look_at(facts: Facts, words: str):
    found = desired(facts, payment()).attention
    assert words in found
    assert bool(words) == bool(found)


@given(
    amount=st.integers(1, 500_000),
    tax=st.integers(0, 120_000),
    received=st.integers(0, 700_000) | st.none(),
    back=st.lists(st.integers(1, 300_000), max_size=3),
)
def test_never_more_than_is_kept(amount: int, tax: int, received: int | None, back: list[int]):
    is_exact = received is None
    got = amount + tax if received is None else received
    facts = paid(got, tax_cents=tax, refunds=[refund(cents) for cents in back])
    found = desired(facts, payment(amount))
    kept = max(got - sum(back), 0) * CENT_NANOS
    assert 0 <= found.credit_nanos <= amount * CENT_NANOS
    assert found.tax_nanos >= 0
    assert found.credit_nanos + found.tax_nanos <= kept
    if is_exact:  # so that a settled payment leaves nothing receivable
        assert found.credit_nanos + found.tax_nanos == kept


@pytest.mark.parametrize("kind", ["checkout.session", "payment_intent"])
async def test_an_object_that_names_another_payment_is_not_this_ones(shop: Shop, kind: str):
    row = await shop.buy(10)
    for item in shop.fake.all(kind):
        item["metadata"] = {**item["metadata"], "payment_id": new_id()}
    found = await shop.reconciler.reconcile(row.id)
    assert (found.state, found.posted_nanos) == ("open", 0)
    assert "is of the payment" in found.attention
