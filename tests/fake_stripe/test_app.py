"""What any request may be refused for, lists, and what `expand` puts in."""

from typing import Any

import httpx
import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from testing.stripe import stripe_client
from tests.fake_stripe.sessions import open_session, parameters


async def test_a_wrong_key_is_refused(fake: FakeStripe):
    async with stripe_client(fake.url, "sk_test_other") as stranger:
        with pytest.raises(stripe.AuthenticationError):
            await stranger.v1.customers.list_async()
    assert list(fake.calls) == []


async def test_another_api_version_is_refused(client: stripe.StripeClient):
    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version"):
        await client.v1.customers.list_async({}, {"stripe_version": "2024-06-20"})


@pytest.mark.parametrize(
    ("changed", "code", "param"),
    [
        ({"payment_method_types": ["card"]}, "parameter_unknown", "payment_method_types"),
        (
            {"payment_intent_data": {"payment_id": "p1"}},
            "parameter_unknown",
            "payment_intent_data[payment_id]",
        ),
        ({"line_items": None}, "parameter_missing", "line_items"),
        ({"line_items": []}, "parameter_missing", "line_items"),
        ({"success_url": ""}, "parameter_invalid_empty", "success_url"),
        ({"expires_at": "soon"}, "parameter_invalid_integer", "expires_at"),
        ({"expires_at": 1}, None, "expires_at"),
        ({"mode": "gift"}, None, "mode"),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
        ({"customer_update": None}, "customer_tax_location_invalid", "automatic_tax"),
        ({"customer_update": {"address": "auto"}}, None, "tax_id_collection"),
    ],
)
async def test_a_session_with_a_wrong_parameter_is_refused(
    client: stripe.StripeClient,
    customer: str,
    changed: dict[str, Any],
    code: str | None,
    param: str,
):
    given: Any = parameters(customer) | changed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.checkout.sessions.create_async(given)
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (
        400,
        code,
        param,
    )


async def test_less_than_stripe_charges_is_refused(client: stripe.StripeClient, customer: str):
    given: Any = parameters(customer, 49)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.checkout.sessions.create_async(given)
    assert refused.value.code == "amount_too_small"


async def test_what_is_not_there_is_missing(client: stripe.StripeClient):
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await client.v1.payment_intents.retrieve_async("pi_nothing")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
        await client.v1.products.list_async()


async def test_a_list_is_read_page_by_page(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    sessions = client.v1.checkout.sessions
    made = []
    for _ in range(3):
        made.append((await open_session(client, customer)).id)
        fake.advance(100)
    middle = await sessions.retrieve_async(made[1])
    page = await sessions.list_async({"limit": 2})
    assert ([each.id for each in page.data], page.has_more) == ([made[2], made[1]], True)
    page = await sessions.list_async({"limit": 2, "starting_after": made[1]})
    assert ([each.id for each in page.data], page.has_more) == ([made[0]], False)
    since = await sessions.list_async({"created": {"gte": middle.created}})
    assert [each.id for each in since.data] == [made[2], made[1]]
    assert (await sessions.list_async({"customer": "cus_other"})).data == []


async def test_expand_reaches_into_lists_and_refuses_what_it_can_not(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer)
    fake.pay(session.id)
    charges = await client.v1.charges.list_async(
        {"expand": ["data.balance_transaction", "data.payment_intent.customer"]}
    )
    intent = charges.data[0].payment_intent
    assert isinstance(charges.data[0].balance_transaction, stripe.BalanceTransaction)
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.customer, stripe.Customer)
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await client.v1.charges.list_async({"expand": ["data.invoice"]})
    invoices = await client.v1.invoices.list_async(
        {"customer": customer, "expand": ["data.payments"]}
    )
    assert invoices.data[0].payments
    assert invoices.data[0].payments.data[0].payment.payment_intent == intent.id


async def test_sessions_expire_by_the_clock(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer, expires_at=fake.now() + 1800)
    declined = fake.pay(session.id, "declined")
    fake.advance(1801)
    expired = await client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["payment_intent"]}
    )
    assert expired.status == "expired"
    assert isinstance(expired.payment_intent, stripe.PaymentIntent)
    assert expired.payment_intent.id == declined["payment_intent"]
    assert expired.payment_intent.status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.checkout.sessions.expire_async(session.id)


async def test_the_controls_are_there_over_http(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer)
    async with httpx.AsyncClient(base_url=f"{fake.url}/_fake/") as controls:
        paid = (
            await controls.post("pay", json={"session": session.id, "card": "bank_debit"})
        ).json()
        intent = paid["result"]["payment_intent"]
        await controls.post("settle_async", json={"intent": intent, "succeeds": True})
        await controls.post("fail", json={"kind": "busy", "operation": "customers.*"})
        calls = (await controls.post("calls", json={})).json()["result"]
        refused = await controls.post("pay", json={"session": session.id})
        unknown = await controls.post("nothing", json={})
        wrong = await controls.post("pay", json={"price": 1})

    assert fake.get("payment_intent", intent)["status"] == "succeeded"
    assert [name for name, _ in calls] == ["customers.create", "checkout.sessions.create"]
    assert (refused.status_code, unknown.status_code, wrong.status_code) == (400, 404, 400)
    with pytest.raises(stripe.RateLimitError):
        await client.v1.customers.list_async()


async def test_pages_of_other_sites_reach_nothing(fake: FakeStripe):
    """A browser sends them to this port: with a body of its own, or under a name of its own."""
    address = f"{fake.url}/_fake/listen"
    body = b'{"url": "http://evil.example/"}'
    plain = {"content-type": "text/plain"}
    renamed = {"content-type": "application/json", "host": "evil.example"}
    async with httpx.AsyncClient() as browser:
        for headers in (plain, renamed):
            answer = await browser.post(address, content=body, headers=headers)
            assert answer.status_code == 403
        page = await browser.get(f"{fake.url}/pay/anything", headers={"host": "evil.example:1"})
        assert page.status_code == 403
