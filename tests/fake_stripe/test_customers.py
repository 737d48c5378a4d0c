"""Customers and their cards."""

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe


async def test_metadata_is_merged_and_unset(client: stripe.StripeClient, customer: str):
    update = client.v1.customers.update_async
    changed = await update(customer, {"metadata": {"a": "1", "organization_id": ""}, "name": "Ada"})
    assert changed.name == "Ada"
    assert changed.to_dict()["metadata"] == {"a": "1"}
    assert (await update(customer, {"metadata": ""})).to_dict()["metadata"] == {}


async def test_a_deleted_customer_is_only_an_id(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    fake.save_card(customer)
    await client.v1.customers.delete_async(customer)

    gone = await client.v1.customers.retrieve_async(customer)

    assert gone.deleted
    assert (await client.v1.customers.list_async()).data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.customers.update_async(customer, {"name": "Ada"})
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.create_async(
            {"amount": 500, "currency": "usd", "customer": customer}
        )


async def test_cards_are_attached_and_detached_for_good(client: stripe.StripeClient, customer: str):
    attach = client.v1.payment_methods.attach_async
    first = await attach("pm_card_visa", {"customer": customer})
    second = await attach("pm_card_visa", {"customer": customer})
    assert first.id != second.id
    assert first.card
    assert second.card
    assert first.card.fingerprint == second.card.fingerprint
    with pytest.raises(stripe.CardError):
        await attach("pm_card_visa_chargeDeclined", {"customer": customer})

    await client.v1.payment_methods.detach_async(first.id)

    with pytest.raises(stripe.InvalidRequestError, match="detached"):
        await attach(first.id, {"customer": customer})
    listed = await client.v1.customers.payment_methods.list_async(customer, {"type": "card"})
    assert [method.id for method in listed.data] == [second.id]


async def test_a_card_of_another_customer_is_refused(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    other = await client.v1.customers.create_async()
    method = fake.save_card(other.id)["id"]
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        await client.v1.payment_intents.create_async(
            {"amount": 500, "currency": "usd", "customer": customer, "payment_method": method}
        )


async def test_the_portal_has_an_address(client: stripe.StripeClient, customer: str):
    portal = await client.v1.billing_portal.sessions.create_async(
        {"customer": customer, "return_url": "http://127.0.0.1/billing"}
    )
    assert portal.url.endswith(portal.id)
