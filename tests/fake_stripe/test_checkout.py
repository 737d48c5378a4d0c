"""Checkout sessions, through the SDK."""

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from tests.fake_stripe.sessions import open_session


async def test_a_paid_session_has_tax_an_invoice_and_saves_the_card(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer)
    assert (session.status, session.payment_status, session.payment_intent) == (
        "open",
        "unpaid",
        None,
    )
    fake.pay(session.id, country="AT", name="Ada")

    session = await client.v1.checkout.sessions.retrieve_async(
        session.id,
        {"expand": ["payment_intent.latest_charge.balance_transaction", "invoice", "line_items"]},
    )

    assert (session.status, session.payment_status, session.url) == ("complete", "paid", None)
    assert session.amount_subtotal == 2500
    assert session.amount_total == 3000
    assert session.total_details
    assert session.total_details.amount_tax == 500
    assert session.line_items
    assert session.line_items.data[0].amount_total == 3000
    intent = session.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert intent.status == "succeeded"
    assert intent.amount_received == 3000
    assert intent.metadata["payment_id"] == "p1"
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    booked = charge.balance_transaction
    assert isinstance(booked, stripe.BalanceTransaction)
    assert (booked.amount, booked.fee, booked.net) == (3000, 117, 2883)
    assert fake.balance_cents == 2883
    invoice = session.invoice
    assert isinstance(invoice, stripe.Invoice)
    assert (invoice.status, invoice.total, invoice.subtotal) == ("paid", 3000, 2500)
    saved = await client.v1.customers.payment_methods.list_async(customer)
    assert [method.card.last4 for method in saved.data if method.card] == ["4242"]
    assert (await client.v1.customers.retrieve_async(customer)).name == "Ada"


async def test_a_company_of_another_country_pays_no_tax(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer)

    paid = fake.pay(session.id, country="AT", tax_id="ATU12345678")

    assert paid["amount_total"] == 2500
    assert paid["customer_details"]["tax_ids"] == [{"type": "eu_vat", "value": "ATU12345678"}]


async def test_a_declined_card_leaves_the_session_open_with_the_same_intent(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer)
    first = fake.pay(session.id, "insufficient_funds")
    intent = await client.v1.payment_intents.retrieve_async(first["payment_intent"])
    assert first["status"] == "open"
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error
    assert intent.last_payment_error.decline_code == "insufficient_funds"

    second = fake.pay(session.id)

    assert second["payment_intent"] == first["payment_intent"]
    assert second["payment_status"] == "paid"


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_bank_debit_completes_unpaid_and_settles_later(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, succeeds: bool
):
    session = await open_session(client, customer)
    unpaid = fake.pay(session.id, "bank_debit")
    assert (unpaid["status"], unpaid["payment_status"]) == ("complete", "unpaid")
    assert fake.balance_cents == 0

    fake.settle_async(unpaid["payment_intent"], succeeds=succeeds)

    session = await client.v1.checkout.sessions.retrieve_async(session.id)
    intent = await client.v1.payment_intents.retrieve_async(unpaid["payment_intent"])
    assert session.status == "complete"
    assert session.payment_status == ("paid" if succeeds else "unpaid")
    assert intent.status == ("succeeded" if succeeds else "requires_payment_method")
    assert (fake.balance_cents > 0) == succeeds
    kinds = [event["type"] for event in fake.all("event")]
    told = "async_payment_succeeded" if succeeds else "async_payment_failed"
    assert kinds[0] == f"checkout.session.{told}"
