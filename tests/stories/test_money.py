"""Money in a real browser: bought at a fake Stripe, topped up, told of by mail and by webhook."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from gateway.fake_stripe.store import API_VERSION, SECRET_KEY
from testing.mailbox import Mailbox
from testing.webhooks import Receiver
from tests.stories.conftest import BILLING, buys, sign_in

_LOOKS_MAX = 60


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> str:
    """An address of this test alone."""
    name = re.sub("[^a-z]+", "-", request.node.name).strip("-")
    return f"{name}@example.org"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


def control(stripe: str, name: str, **arguments: Any) -> Any:
    """Do what only Stripe, a bank or a card's owner can do."""
    answer = httpx.post(f"{stripe}/_fake/{name}", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def looks_until(page: Page, path: str, words: str) -> None:
    """Load a page until it says something, as a person without a script would."""
    for _ in range(_LOOKS_MAX):
        page.goto(path)
        if page.locator(".console").get_by_text(words).count():
            return
        page.wait_for_timeout(500)  # what it waits for happens in a job of another process
    raise AssertionError(f"{path} never said {words!r}")


def back_from_stripe(page: Page) -> str:
    """Wait until Stripe's page has led back, and return the address of the payment's page."""
    page.wait_for_url(re.compile("/console/billing/payments/"))
    return page.url


def test_buy_see_it_pending_and_then_credited(
    page: Page, stripe: str, mailbox: Mailbox, owner: str, context_has_javascript: bool
):
    page.goto(BILLING)
    sign_in(page, mailbox, owner)
    expect(page.get_by_text("no money moves")).to_be_visible()
    buys(page, 50)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Nothing was charged.")).to_be_visible()
    expect(page.get_by_text("Pending", exact=True)).to_be_visible()

    # the page stays open here, while the buyer pays in another tab
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("link", name="Go to the payment page").click()
    other.get_by_role("button", name="Pay with a card that is declined").click()
    expect(other.get_by_role("alert")).to_contain_text("declined")
    other.get_by_role("button", name="Pay with a good card").click()
    for tab in (other, page):
        if context_has_javascript:
            expect(tab.get_by_text("Credited", exact=True)).to_be_visible(timeout=15_000)
        else:  # where nothing looks again by itself
            looks_until(tab, back_from_stripe(tab), "Credited")

    # and by a means that takes days: nothing is credited before the money is there
    buys(page, 10)
    page.get_by_role("button", name="Pay by a bank debit").click()
    pending = back_from_stripe(page)
    looks_until(page, pending, "Processing")
    page.goto(BILLING)
    expect(page.locator(".balance .value")).to_have_text("$50.25")
    expect(page.get_by_role("region", name="Payments")).to_contain_text("Processing")
    (intent,) = {
        intent["id"]
        for intent in _listed(stripe, "payment_intents")
        if intent["status"] == "processing"
    }
    control(stripe, "settle_async", intent=intent)
    looks_until(page, pending, "Credited")
    page.goto(BILLING)
    expect(page.locator(".balance .value")).to_have_text("$60.25")


def test_auto_top_up_and_a_card_that_is_declined(
    page: Page, stripe: str, mailbox: Mailbox, owner: str
):
    page.goto(BILLING)
    sign_in(page, mailbox, owner)
    buys(page, 25, saves_card=True)
    # this card pays while its owner is there, and is declined afterwards
    session = page.url.rpartition("/")[2]
    control(stripe, "pay", session=session, card="refused_later")
    looks_until(page, BILLING, "ending in")

    top_up = page.locator("#auto-top-up")
    expect(top_up).to_contain_text("Off")
    top_up.get_by_label("When below").fill("100")
    top_up.get_by_label("Buy credit with the saved card").check()
    top_up.get_by_role("button", name="Save").click()
    looks_until(page, BILLING, "The last charge was declined.")
    failed = page.get_by_role("row").filter(has_text="Auto top-up")
    expect(failed).to_contain_text("Failed")
    expect(failed).to_contain_text("Your card was declined")
    assert "declined" in str(mailbox.wait(owner, "uto top-up").get_body(("plain",)))

    # somebody pays with a card that works, and saves that one
    buys(page, 50, saves_card=True)
    page.get_by_role("button", name="Pay with a good card").click()
    looks_until(page, back_from_stripe(page), "Credited")
    looks_until(page, BILLING, "ending in 4242")
    expect(top_up).not_to_contain_text("declined.")


def test_a_mail_when_the_balance_is_low(page: Page, mailbox: Mailbox, owner: str):
    page.goto("/console/alerts")
    sign_in(page, mailbox, owner)
    page.get_by_role("radio", name="Less than an amount").check()
    page.get_by_role("textbox", name="Amount in dollars").fill("1")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    mail = mailbox.wait(owner, "running low").get_body(("plain",))
    assert mail
    assert "$0.25" in mail.get_content()
    link = re.search(r"http://\S+", mail.get_content())
    assert link
    page.goto(link[0])
    expect(page.get_by_role("heading", level=1)).to_have_text("Billing")


def test_a_webhook_is_received_verified_and_replayed(
    page: Page, mailbox: Mailbox, owner: str, receiver: Receiver
):
    page.goto("/console/webhooks")
    sign_in(page, mailbox, owner)
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_label("payment.credited").check()
    page.get_by_role("button", name="Add").click()
    secret = page.locator("#secret").inner_text().strip()
    page.get_by_role("link", name="I have saved it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(receiver.url)
    log = page.url

    buys(page, 10)
    page.get_by_role("button", name="Pay with a good card").click()
    looks_until(page, back_from_stripe(page), "Credited")
    (message,) = receiver.wait(1)
    event = message.verified(secret)
    assert (event["type"], event["data"]["credit_nanos"]) == ("payment.credited", "10000000000")

    looks_until(page, log, "Received")
    page.get_by_text("Message").first.click()
    expect(page.get_by_text(message.headers["webhook-id"])).to_be_visible()
    page.get_by_role("button", name="Replay").click()
    _, again = receiver.wait(2)
    assert again.verified(secret) == event
    assert again.headers["webhook-id"] == message.headers["webhook-id"]

    page.get_by_role("button", name="Send a test event").click()
    assert receiver.wait(3)[2].verified(secret)["type"] == "endpoint.ping"


def _listed(stripe: str, kind: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {SECRET_KEY}", "Stripe-Version": API_VERSION}
    answer = httpx.get(f"{stripe}/v1/{kind}?limit=100", headers=headers)
    found: list[dict[str, Any]] = answer.json()["data"]
    return found
