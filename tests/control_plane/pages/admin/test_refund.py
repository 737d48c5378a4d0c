"""A refund in the browser: what will go, asked of Stripe once, recorded and mailed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.billing import credit
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage import tables
from testing.back_office import ADMIN, check, owned_organization, post, trail_of
from testing.browsing import Browser, field, squeezed
from testing.ledger import assert_sound
from testing.operators import sign_in_operator
from testing.stripe import fake_stripe
from tests.control_plane.conftest import rows
from tests.control_plane.pages.console.conftest import selling, sent

WHY = {"cause": "request", "words": "Bought twice"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as opened:
        yield opened


@pytest.fixture
def options(fake: FakeStripe) -> dict[str, Any]:
    return selling(fake)


@pytest.fixture
async def bought(gateway: Process, fake: FakeStripe) -> tuple[str, str]:
    """An organization that bought $25, and its payment."""
    ada = Browser(gateway.app, address="203.0.113.8")
    owner = await owned_organization(gateway, ada, "ada@northwind.example")
    payment_id = field((await ada.get("/console/billing")).text, "id")
    await sent(ada, "/console/billing/buy", id=payment_id, preset="25")
    (session,) = fake.all("checkout.session")
    fake.pay(session["id"])
    await ada.get(f"/console/billing/payments/{payment_id}")
    await ada.close()
    return owner, payment_id


async def test_it_is_checked_asked_of_stripe_once_and_recorded(
    browser: Browser, gateway: Process, fake: FakeStripe, bought: tuple[str, str]
):
    organization_id, payment_id = bought
    ops = await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{organization_id}/refund?payment={payment_id}"
    fields = {"amount": "10", "payment": payment_id, **WHY}
    listed = await browser.get(f"{ADMIN}/{organization_id}/payments")
    assert f"refund?payment={payment_id}" in listed.text
    page = squeezed((await check(browser, path, **fields)).text)
    assert "Post \N{MINUS SIGN}$10.00" in page
    assert "<code>reversal</code> \N{MINUS SIGN}$10.00" in page
    assert list(fake.all("refund")) == []

    checked = browser.page
    assert "The refund is on its way." in (await post(browser, path, **fields)).text
    browser.page = checked
    assert "nothing changed" in (await post(browser, path, **fields)).text
    (refund,) = fake.all("refund")
    assert refund["amount"] == 1_000
    async with gateway.core.database.read() as connection:
        balance = await credit.balance(connection, organization_id)
    assert balance.available_nanos == 15_250_000_000
    (entry,) = [one for one in await trail_of(gateway.core.database) if one.actor == ops]
    assert (entry.action, entry.subject) == ("payment.refunded", f"payment:{payment_id}")
    assert (entry.after["amount_cents"], entry.reason) == (1_000, "request: Bought twice")
    mails = await rows(
        gateway, select(tables.outbox.c.subject).where(tables.outbox.c.kind == "account")
    )
    assert [mail.subject for mail in mails] == ["$10.00 of your payment is refunded"]
    await assert_sound(gateway.core.database)


async def test_more_than_is_left_is_refused(
    browser: Browser, gateway: Process, bought: tuple[str, str]
):
    organization_id, payment_id = bought
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{organization_id}/refund?payment={payment_id}"
    page = await check(browser, path, amount="25.01", payment=payment_id, **WHY)
    assert page.status_code == 400
    assert "$25.00 of this payment can be refunded" in page.text


async def test_others_payments_are_not_found(
    browser: Browser, gateway: Process, bought: tuple[str, str]
):
    _, payment_id = bought
    mine = Browser(gateway.app, address="203.0.113.9")
    other = await owned_organization(gateway, mine, "eve@example.com")
    await mine.close()
    await sign_in_operator(browser, gateway, "ops@example.com", "finance")
    path = f"{ADMIN}/{other}/refund?payment={payment_id}"
    assert (await check(browser, path, amount="1", payment=payment_id, **WHY)).status_code == 404
