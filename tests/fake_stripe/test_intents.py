"""Payment intents that a saved card pays while nobody is there."""

from typing import Any

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe


def attempt(customer: str, method: str, **more: Any) -> Any:
    return {
        "amount": 1190,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "confirm": True,
        "off_session": True,
        "metadata": {"payment_id": "p1"},
        **more,
    }


@pytest.mark.parametrize(
    ("behavior", "code", "decline_code"),
    [
        ("insufficient_funds", "card_declined", "insufficient_funds"),
        ("refused_later", "card_declined", "generic_decline"),
        ("expired_card", "expired_card", "expired_card"),
        ("authentication_required", "authentication_required", "authentication_required"),
    ],
)
async def test_a_decline_says_why_and_leaves_the_intent(
    fake: FakeStripe,
    client: stripe.StripeClient,
    customer: str,
    behavior: str,
    code: str,
    decline_code: str,
):
    method = fake.save_card(customer, behavior)["id"]
    with pytest.raises(stripe.CardError) as declined:
        await client.v1.payment_intents.create_async(attempt(customer, method))

    error = declined.value.error
    assert error
    assert (declined.value.http_status, error.code, error.decline_code) == (402, code, decline_code)
    assert error.payment_intent
    assert error.payment_intent.status == "requires_payment_method"
    (listed,) = (await client.v1.payment_intents.list_async({"customer": customer})).data
    assert listed.id == error.payment_intent.id
    assert listed.metadata["payment_id"] == "p1"
    assert listed.last_payment_error
    assert listed.last_payment_error.decline_code == decline_code
    assert fake.balance_cents == 0


async def test_tax_of_a_calculation_must_fit_the_amount(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    method = fake.save_card(customer)["id"]
    calculation = await client.v1.tax.calculations.create_async(
        {
            "currency": "usd",
            "customer_details": {"address": {"country": "DE"}, "address_source": "billing"},
            "line_items": [{"amount": 1000, "reference": "credit", "tax_behavior": "exclusive"}],
        }
    )
    assert (calculation.amount_total, calculation.tax_amount_exclusive) == (1190, 190)
    hooks = {"inputs": {"tax": {"calculation": calculation.id}}}
    with pytest.raises(stripe.InvalidRequestError, match="amount_total"):
        await client.v1.payment_intents.create_async(
            attempt(customer, method, hooks=hooks, amount=1000)
        )
    paid = await client.v1.payment_intents.create_async(attempt(customer, method, hooks=hooks))
    assert (paid.status, paid.amount_received) == ("succeeded", 1190)


async def test_a_buyer_who_is_there_authenticates(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    method = fake.save_card(customer, "authentication_required")["id"]
    waiting = await client.v1.payment_intents.create_async(
        attempt(customer, method, off_session=False)
    )
    assert waiting.status == "requires_action"
    assert fake.authenticate(waiting.id)["status"] == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.cancel_async(waiting.id)
    assert refused.value.code == "payment_intent_unexpected_state"


async def test_one_that_waits_is_confirmed_later_or_canceled(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    method = fake.save_card(customer)["id"]
    create = client.v1.payment_intents.create_async
    parameters = {"amount": 500, "currency": "usd", "customer": customer, "payment_method": method}
    first, second = [await create(parameters) for _ in range(2)]
    assert (await client.v1.payment_intents.confirm_async(first.id)).status == "succeeded"
    assert (await client.v1.payment_intents.cancel_async(second.id)).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.confirm_async(second.id)
