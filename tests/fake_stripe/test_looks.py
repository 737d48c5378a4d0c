"""The fake's pages in light, dark and on a phone: nothing for axe, nothing too wide."""

from collections.abc import Iterator

import pytest
import stripe
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from gateway.fake_stripe.store import SECRET_KEY
from testing.processes import Process, running
from tests.fake_stripe.sessions import parameters
from tests.stories.conftest import chromium

pytestmark = pytest.mark.long
__all__ = ["chromium"]  # a fixture


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with running("gateway.fake_stripe") as started:
        yield started


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1200), ("dark", 1200), ("dark", 320), ("light", 320)]
)
def test_pages_are_readable_by_all(chromium: Browser, process: Process, scheme, width):
    http = stripe.HTTPXClient(allow_sync_methods=True, verify_ssl_certs=False)
    client = stripe.StripeClient(SECRET_KEY, base_addresses={"api": process.url}, http_client=http)
    customer = client.v1.customers.create({"email": "ada@example.org"}).id
    back = f"{process.url}/back"
    given = parameters(customer, success_url=back, cancel_url=back)
    session = client.v1.checkout.sessions.create(given)
    portal = client.v1.billing_portal.sessions.create({"customer": customer, "return_url": back})
    http.close()
    context = chromium.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
    )
    page = context.new_page()

    def looks() -> None:
        found = Axe().run(page).response["violations"]
        assert [each["id"] for each in found] == [], page.url
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url

    page.goto(str(session.url))
    page.get_by_text("Total in each country").click()
    looks()
    page.get_by_role("button", name="Pay with a card that is declined").click()
    assert page.get_by_role("alert").inner_text() == "Your card was declined. Nothing was paid."
    looks()
    page.select_option("#country", "AT")
    page.get_by_role("button", name="Pay with a good card").click()
    assert page.url == back
    page.goto(portal.url)
    looks()
    page.get_by_role("link", name="FAKE").click()
    looks()
    page.go_back()
    page.get_by_role("button", name="Remove 4242").click()
    page.get_by_text("No card is saved.").wait_for()
    context.close()
