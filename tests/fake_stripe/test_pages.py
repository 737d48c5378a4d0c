"""The pages, as a browser without JavaScript uses them, and the command that serves them."""

import httpx
import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from testing.processes import running
from testing.stripe import stripe_client
from tests.fake_stripe.sessions import open_session

CALM = "No money moves"


@pytest.fixture
async def url(client: stripe.StripeClient, customer: str) -> str:
    session = await open_session(client, customer)
    assert session.url
    return session.url


async def test_checkout_shows_the_amount_and_the_tax_of_each_country(url: str):
    async with httpx.AsyncClient() as browser:
        page = await browser.get(url)
    assert page.status_code == 200
    assert CALM in page.text
    assert "$25.00" in page.text
    assert "Germany: tax $4.75" in page.text
    assert "<dt>Germany</dt><dd>$29.75</dd>" in page.text
    assert "<script" not in page.text


async def test_a_good_card_leads_back_with_the_session(fake: FakeStripe, url: str):
    async with httpx.AsyncClient() as browser:
        paid = await browser.post(url, data={"card": "good", "country": "DE", "name": "<b>Ada"})
        again = await browser.get(url)
    identifier = url.rpartition("/")[2]
    assert paid.status_code == 303
    assert paid.headers["location"] == f"http://127.0.0.1/back?session={identifier}"
    assert fake.get("checkout.session", identifier)["amount_total"] == 2975
    assert "This checkout is complete" in again.text


async def test_a_declined_card_says_so_and_may_be_tried_again(fake: FakeStripe, url: str):
    async with httpx.AsyncClient(follow_redirects=True) as browser:
        page = await browser.post(url, data={"card": "insufficient_funds", "country": "US"})
    assert "Your card has insufficient funds. Nothing was paid." in page.text
    assert fake.balance_cents == 0


async def test_cancel_leads_back_and_keeps_the_session_open(fake: FakeStripe, url: str):
    async with httpx.AsyncClient() as browser:
        left = await browser.post(url, data={"card": "cancel"})
    assert left.headers["location"] == "http://127.0.0.1/canceled"
    assert fake.get("checkout.session", url.rpartition("/")[2])["status"] == "open"


async def test_the_portal_lists_invoices_and_removes_a_card(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, url: str
):
    fake.pay(url.rpartition("/")[2], country="DE", name="<b>Ada")
    portal = await client.v1.billing_portal.sessions.create_async(
        {"customer": customer, "return_url": "http://127.0.0.1/billing"}
    )
    (method,) = fake.all("payment_method", customer=customer)
    (invoice,) = fake.all("invoice")
    stranger = fake.save_card((await client.v1.customers.create_async()).id)["id"]
    async with httpx.AsyncClient(follow_redirects=True) as browser:
        page = await browser.get(portal.url)
        await browser.post(portal.url, data={"remove": stranger})
        after = await browser.post(portal.url, data={"remove": method["id"]})
        receipt = await browser.get(invoice["hosted_invoice_url"])

    assert invoice["number"] in page.text
    assert "Visa ending in 4242" in page.text
    assert "http://127.0.0.1/billing" in page.text
    assert "No card is saved" in after.text
    assert fake.get("payment_method", stranger)["customer"]
    assert "&lt;b&gt;Ada" in receipt.text
    assert "$4.75" in receipt.text


async def test_there_is_no_other_page(fake: FakeStripe):
    async with httpx.AsyncClient(base_url=fake.url) as browser:
        assert (await browser.get("/")).status_code == 404
        assert (await browser.get("/checkout/cs_test_nothing")).status_code == 404


async def test_the_command_serves_until_it_is_stopped():
    with running("gateway.fake_stripe", "--webhook", "http://127.0.0.1:9/") as process:
        async with stripe_client(process.url) as client:
            customer = await client.v1.customers.create_async()
            session = await open_session(client, customer.id)
    assert session.url
    assert session.url.startswith(process.url)
