"""The fake's pages in light, dark and on a phone: nothing for axe, nothing too wide."""

from collections.abc import Iterator

import pytest
import stripe
from playwright.sync_api import Browser

from gateway.fake_stripe.store import SECRET_KEY
from testing import looks
from testing.processes import Process, running
from tests.fake_stripe.sessions import parameters
from tests.stories.conftest import chromium

pytestmark = pytest.mark.long
__all__ = ["chromium"]  # a fixture
LOOKS = looks.looks(width=1200, phone=320)


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with running("gateway.fake_stripe") as started:
        yield started


def test_pages_are_readable_by_all(chromium: Browser, process: Process):
    http = stripe.HTTPXClient(allow_sync_methods=True, verify_ssl_certs=False)
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": process.url}, http_client=http)
    customer = client.v1.customers.create({"email": "ada@example.org"}).id
    back = f"{process.url}/back"
    given = parameters(customer, success_url=back, cancel_url=back)
    session = client.v1.checkout.sessions.create(given)
    portal = client.v1.billing_portal.sessions.create({"customer": customer, "return_url": back})
    http.close()
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()

    def look_at(slug: str) -> None:
        found = looks.problems(page, f"stripe-{slug}", LOOKS)
        assert [str(each) for each in found] == [], page.url

    page.goto(str(session.url))
    page.get_by_text("Total in each country").click()
    look_at("checkout")
    page.get_by_role("button", name="Pay with a card that is declined").click()
    assert page.get_by_role("alert").inner_text() == "Your card was declined. Nothing was paid."
    look_at("declined")
    page.select_option("#country", "AT")
    page.get_by_role("button", name="Pay with a good card").click()
    assert page.url == back
    page.goto(portal.url)
    look_at("portal")
    page.get_by_role("link", name="FAKE").click()
    look_at("invoice")
    page.go_back()
    page.get_by_role("button", name="Remove 4242").click()
    page.get_by_text("No card is saved.").wait_for()
    context.close()
