"""The billing page: what it says of a balance, and buying, as far as Stripe's own page."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.app.process import Process
from gateway.control_plane.payments import customers
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.ledger import freezes
from testing.browsing import Browser, field, sign_in, squeezed
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, Fields, counted
from tests.control_plane.pages.console.conftest import (
    member_of,
    selling,
    sent,
    stranger_to,
)

PATH = "/console/billing"


LEGAL = {
    "legal_name": "Example Ltd",
    "legal_address": "1 Main Street, Dublin, Ireland",
    "legal_email": "hello@example.com",
    "legal_law": "the laws of Ireland",
}


@pytest.fixture
def more(request: pytest.FixtureRequest) -> dict[str, str]:
    return getattr(request, "param", {})


@pytest.fixture
def options(fake: FakeStripe, more: dict[str, str]) -> dict[str, Any]:
    return selling(fake, purchases_per_hour=4) | more


async def opened(browser: Browser, gateway: Process) -> str:
    """Sign somebody in and open the page; return the id that its form has for the payment."""
    await sign_in(browser, gateway, "ada@example.org")
    return field((await browser.get(PATH)).text, "id")


async def organization(gateway: Process) -> str:
    (found,) = await rows(gateway, select(tables.organizations.c.id))
    return str(found.id)


async def test_buying_leads_to_stripe_with_what_was_chosen(
    gateway: Process, browser: Browser, fake: FakeStripe
):
    payment_id = await opened(browser, gateway)
    answer = await sent(browser, f"{PATH}/buy", id=payment_id, preset="50", save_card="yes")
    assert answer.status_code == 303
    (session,) = fake.all("checkout.session")
    assert answer.headers["location"] == session["url"]
    (payment,) = await rows(gateway, select(tables.payments))
    assert (payment.id, payment.amount_cents, bool(payment.saves_card)) == (payment_id, 5_000, True)
    assert session["success_url"].endswith(f"{PATH}/payments/{payment_id}")
    # browsers follow a form only to where the policy of its page allows
    assert f"form-action 'self' {fake.url};" in browser.page.headers["content-security-policy"]


async def test_a_double_click_makes_one_payment(
    gateway: Process, browser: Browser, fake: FakeStripe
):
    payment_id = await opened(browser, gateway)
    once = [sent(browser, f"{PATH}/buy", id=payment_id, preset="25") for _ in range(2)]
    answers = await asyncio.gather(*once)
    assert {answer.status_code for answer in answers} <= {303, 503}  # 503: Stripe is at it already
    again = await sent(browser, f"{PATH}/buy", id=payment_id, preset="25")
    (session,) = fake.all("checkout.session")
    assert again.headers["location"] == session["url"]
    # when it is paid, the form leads to what became of it
    fake.pay(session["id"])
    await gateway.services.payments.reconciler.reconcile(payment_id)
    late = await sent(browser, f"{PATH}/buy", id=payment_id, preset="25")
    assert late.headers["location"] == f"{PATH}/payments/{payment_id}"
    assert len(await rows(gateway, select(tables.payments))) == 1


async def test_a_form_that_bought_something_else_can_be_sent_again(
    gateway: Process, browser: Browser
):
    payment_id = await opened(browser, gateway)
    await sent(browser, f"{PATH}/buy", id=payment_id, preset="25")
    page = await browser.submit(f"{PATH}/buy", id=payment_id, preset="50")
    assert page.status_code == 409
    assert "used for another" in Fields(page).said()
    fresh = field(page.text, "id")
    assert fresh != payment_id
    assert (await sent(browser, f"{PATH}/buy", id=fresh, preset="50")).status_code == 303


async def test_another_amount(gateway: Process, browser: Browser):
    await opened(browser, gateway)
    for typed, dollars in [("5", 5), ("1,000", 1_000), (" $250 ", 250), ("5 000", 5_000)]:
        payment_id = field((await browser.get(PATH)).text, "id")
        answer = await sent(browser, f"{PATH}/buy", id=payment_id, preset="other", custom=typed)
        assert answer.status_code == 303, typed
        newest = select(tables.payments).where(tables.payments.c.id == payment_id)
        (payment,) = await rows(gateway, newest)
        assert payment.amount_cents == dollars * 100


async def test_an_amount_that_is_not_sold_stays_in_the_form(gateway: Process, browser: Browser):
    await opened(browser, gateway)
    for typed in ("", "4", "5,001", "10.50", "-10", "1e3", "ten", "9" * 40):
        with counted(gateway) as statements:
            page = await browser.submit(f"{PATH}/buy", id=new_id(), preset="other", custom=typed)
        assert len(statements) <= QUERIES_MAX
        assert page.status_code == 400, typed
        found = Fields(page)
        assert found.blamed() == "custom"
        assert found.values["custom"] == typed
        assert "from 5 to 5,000" in found.said()
        assert 'value="other" checked' in squeezed(page.text)
    assert not await rows(gateway, select(tables.payments))


async def test_while_stripe_is_away_the_same_form_asks_for_the_same_payment(
    gateway: Process, browser: Browser, fake: FakeStripe
):
    payment_id = await opened(browser, gateway)
    fake.faults.add("lost", "checkout.sessions.create")
    page = await browser.submit(f"{PATH}/buy", id=payment_id, preset="100", save_card="yes")
    assert page.status_code == 503
    assert "Stripe can&#39;t be reached" in page.text
    assert field(page.text, "id") == payment_id
    assert 'value="100" checked' in squeezed(page.text)
    answer = await sent(browser, f"{PATH}/buy", id=payment_id, preset="100", save_card="yes")
    assert answer.status_code == 303
    assert len(list(fake.all("checkout.session"))) == 1


@pytest.mark.parametrize("form", ["buy", "portal"])
async def test_what_stripe_is_asked_for_is_limited(
    gateway: Process, browser: Browser, fake: FakeStripe, form: str
):
    """However often it refuses: those payments do not count as open."""
    await opened(browser, gateway)
    await sent(browser, f"{PATH}/buy", id=new_id(), preset="25")
    fake.faults.add("refused", times=1_000)
    answers = []
    for _ in range(5):
        fields = {"id": new_id(), "preset": "25"} if form == "buy" else {}
        answers.append((await browser.submit(f"{PATH}/{form}", **fields)).status_code)
    assert answers == [503, 503, 503, 429, 429]
    assert len(await rows(gateway, select(tables.payments))) <= 4


async def test_a_page_on_another_domain_is_led_to_by_a_link(
    gateway: Process, browser: Browser, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch
):
    """Stripe can have its pages under the seller's own name, where no form may lead."""
    monkeypatch.setattr(fake, "url", "https://pay.example.com")
    payment_id = await opened(browser, gateway)
    page = await browser.submit(f"{PATH}/buy", id=payment_id, preset="25")
    assert page.status_code == 200
    assert 'href="https://pay.example.com/checkout/' in page.text


async def test_the_saved_card_and_the_customer_portal(
    gateway: Process, browser: Browser, fake: FakeStripe
):
    payment_id = await opened(browser, gateway)
    assert "No card is saved" in browser.page.text
    assert f"{PATH}/portal" not in browser.page.text  # Stripe has no such customer yet
    await sent(browser, f"{PATH}/buy", id=payment_id, preset="25", save_card="yes")
    (session,) = fake.all("checkout.session")
    fake.pay(session["id"])
    await gateway.services.payments.reconciler.reconcile(payment_id)
    page = await browser.get(PATH)
    assert "Visa ending in 4242, expires 12/" in squeezed(page.text)
    answer = await sent(browser, f"{PATH}/portal")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{fake.url}/portal/")
    fake.faults.add("refused", "billing_portal.*")
    away = await browser.submit(f"{PATH}/portal")
    assert away.status_code == 503
    assert Fields(away).said()


async def test_auto_top_up_is_set_and_says_what_it_does(gateway: Process, browser: Browser):
    await opened(browser, gateway)
    chosen = {"threshold": "7.50", "amount": "50", "month": "200", "enabled": "yes"}
    page = await browser.submit(f"{PATH}/auto-top-up", **chosen)
    assert page.status_code == 200
    assert page.url.params["saved"] == "1"
    assert "Waits for a card" in page.text
    (saved,) = await rows(gateway, select(tables.auto_top_ups))
    assert (saved.threshold_nanos, saved.amount_cents) == (7_500_000_000, 5_000)
    assert saved.month_cents_max == 20_000
    assert (await browser.submit(f"{PATH}/auto-top-up", **(chosen | {"enabled": ""}))).is_success
    (saved,) = await rows(gateway, select(tables.auto_top_ups))
    assert not saved.enabled
    entries = tables.trail_entries
    first, second = await rows(gateway, select(entries).order_by(entries.c.number))
    assert (first.action, first.before) == ("auto_top_up.changed", "{}")
    assert '"amount_cents":5000,"enabled":true' in first.after
    assert (second.before, '"enabled":false' in second.after) == (first.after, True)


async def test_auto_top_up_refused(gateway: Process, browser: Browser):
    await opened(browser, gateway)
    for name, wrong in [("threshold", "0"), ("amount", "2.5"), ("month", "10")]:
        typed = {"threshold": "5", "amount": "25", "month": "100", name: wrong}
        page = await browser.submit(f"{PATH}/auto-top-up", **typed)
        assert page.status_code == 400, name
        blamed = page.text.partition('aria-invalid="true"')[0].rpartition("<input")[2]
        assert f'name="{name}"' in blamed
        assert f'value="{wrong}"' in blamed
    assert not await rows(gateway, select(tables.auto_top_ups))


async def test_each_cause_that_stops_an_account_has_its_way_out(gateway: Process, browser: Browser):
    await opened(browser, gateway)
    who = await organization(gateway)
    async with gateway.core.database.write() as connection:
        for cause in ("dispute", "operator", "books"):
            await freezes.freeze(connection, who, cause)
        await connection.execute(
            update(tables.accounts).values(available_nanos=0, owed_nanos=3 * 10**9)
        )
    page = squeezed((await browser.get(PATH)).text)
    for words in [
        "You owe $3.00.",
        "The next credit that you buy pays it first.",
        "A payment is disputed.",
        "This account is suspended.",
        "This account is under review.",
    ]:
        assert words in page
    assert page.count('<a href="mailto:help@gateway.example">Write to us</a>') == 3
    overview = squeezed((await browser.get("/console")).text)
    assert page.partition('<div class="notice bad')[2].partition("</section>")[0] in overview
    assert overview.partition("<main")[2].count("$3.00") == 1


async def test_a_hold_is_shown_instead_of_the_form(gateway: Process, browser: Browser):
    payment_id = await opened(browser, gateway)
    async with gateway.core.database.write() as connection:
        await customers.hold(connection, await organization(gateway), "warning", datetime.now(UTC))
    # the page was open before
    page = await browser.submit(f"{PATH}/buy", id=payment_id, preset="25")
    assert page.url.path == PATH
    assert "Buying is on hold" in page.text
    assert "mailto:help@gateway.example" in page.text
    assert f'action="{PATH}/buy"' not in page.text
    assert not await rows(gateway, select(tables.payments))


async def test_members_look_and_owners_pay(gateway: Process, browser: Browser):
    payment_id = await opened(browser, gateway)
    await sent(browser, f"{PATH}/buy", id=payment_id, preset="25")
    bob = await member_of(browser, gateway, "bob@example.org")
    page = await bob.get(PATH)
    assert "Only owners of ada, and members for billing, can buy credit" in squeezed(page.text)
    assert f"{PATH}/payments/{payment_id}" in page.text
    assert f'action="{PATH}' not in page.text
    for form in ("buy", "portal", "auto-top-up"):
        assert (await sent(bob, f"{PATH}/{form}")).status_code == 404
    await bob.close()


async def test_a_form_of_another_site_buys_nothing(gateway: Process, browser: Browser):
    payment_id = await opened(browser, gateway)
    for form in ("buy", "portal", "auto-top-up"):
        answer = await browser.submit(f"{PATH}/{form}", csrf="0" * 64, id=payment_id, preset="25")
        assert answer.status_code == 403
    assert not await rows(gateway, select(tables.payments))


async def test_the_payment_of_another_organization_is_not_continued(
    gateway: Process, browser: Browser
):
    payment_id = await opened(browser, gateway)
    await sent(browser, f"{PATH}/buy", id=payment_id, preset="25")
    eve = await stranger_to(gateway)
    await eve.get(PATH)
    answer = await sent(eve, f"{PATH}/buy", id=payment_id, preset="25")
    assert answer.status_code == 409
    assert "location" not in answer.headers
    assert "checkout/cs_" not in answer.text
    await eve.close()


async def test_the_page_asks_few_questions(gateway: Process, browser: Browser):
    await opened(browser, gateway)
    with counted(gateway) as statements:
        await browser.get(PATH)
    assert len(statements) <= QUERIES_MAX


async def test_test_mode_is_marked_on_every_page_about_money(gateway: Process, browser: Browser):
    payment_id = await opened(browser, gateway)
    await sent(browser, f"{PATH}/buy", id=payment_id, preset="25")
    for path in (PATH, f"{PATH}/payments", f"{PATH}/payments/{payment_id}"):
        assert "no money moves" in (await browser.get(path)).text, path
    assert "no money moves" not in (await browser.get("/console/keys")).text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (LEGAL, "Credit that you buy does not expire: see the"),
        (LEGAL | {"terms": "https://example.com/t"}, "you buy does not expire, unless the <a"),
    ],
    indirect=["more"],
)
async def test_what_is_said_of_expiry_is_what_the_terms_say(
    gateway: Process, browser: Browser, said: str
):
    await opened(browser, gateway)
    assert said in squeezed(browser.page.text)
