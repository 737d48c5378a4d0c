"""The page of a payment, to which Stripe sends its buyer back, and the list of all."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from gateway import wall
from gateway.app.process import Process
from gateway.control_plane.pages.console import payments as pages
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.storage import tables
from testing.browsing import Browser, field, sign_in, squeezed
from tests.control_plane.conftest import rows
from tests.control_plane.pages.conftest import QUERIES_MAX, counted
from tests.control_plane.pages.console.conftest import member_of, selling, sent, stranger_to

BILLING = "/console/billing"
POLL = {"hx-request": "true"}


@pytest.fixture
def options(fake: FakeStripe) -> dict[str, Any]:
    return selling(fake)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each page ask Stripe, however short a time after the last one."""
    monkeypatch.setattr(pages, "ASKED_ANEW", timedelta(0))


def session_of(fake: FakeStripe, path: str) -> str:
    payment_id = path.rpartition("/")[2]
    (found,) = [
        each["id"]
        for each in fake.all("checkout.session")
        if each["metadata"]["payment_id"] == payment_id
    ]
    return str(found)


@pytest.fixture
async def path(browser: Browser, gateway: Process) -> str:
    """The page of a payment that was started."""
    await sign_in(browser, gateway, "ada@example.org")
    payment_id = field((await browser.get(BILLING)).text, "id")
    answer = await sent(browser, f"{BILLING}/buy", id=payment_id, preset="25")
    assert answer.status_code == 303
    return f"{BILLING}/payments/{payment_id}"


async def test_who_has_paid_comes_back_to_their_credit(
    browser: Browser, gateway: Process, fake: FakeStripe, path: str
):
    fake.pay(session_of(fake, path))
    page = await browser.get(path)  # no event told of it
    assert "Credited" in page.text
    assert "$25.00" in page.text
    assert "hx-trigger" not in page.text
    assert "$25.25" in (await browser.get(BILLING)).text
    listed = squeezed((await browser.get(f"{BILLING}/payments")).text)
    assert "Credited" in listed
    (payment,) = await rows(gateway, select(tables.payments))
    assert f'href="{payment.invoice_url}"' in listed
    assert f'href="{payment.receipt_url}"' in listed


async def test_who_has_not_paid_can_go_back_to_pay(browser: Browser, fake: FakeStripe, path: str):
    page = squeezed((await browser.get(f"{path}?left=true")).text)
    assert "You left the payment page before you paid. Nothing was charged." in page
    assert f'href="{fake.url}/checkout/{session_of(fake, path)}"' in page
    assert f'<a class="button" href="{path}">Check again</a>' in page  # without a script


async def test_a_bank_debit_is_pending_until_it_arrives(
    browser: Browser, gateway: Process, fake: FakeStripe, path: str
):
    fake.pay(session_of(fake, path), "bank_debit")
    page = await browser.get(path)
    assert "Processing" in page.text
    assert "some days" in page.text
    assert "$0.25" in (await browser.get(BILLING)).text  # nothing before the money
    assert "Processing" in browser.page.text
    (payment,) = await rows(gateway, select(tables.payments))
    fake.settle_async(payment.intent_id)
    assert "Credited" in (await browser.get(path)).text


async def test_while_it_is_open_the_page_looks_again(
    browser: Browser, gateway: Process, fake: FakeStripe, path: str
):
    page = await browser.get(path)
    assert f'hx-get="{path}" hx-trigger="every 3s"' in squeezed(page.text)
    fragment = await browser.get(path, headers=POLL)
    assert fragment.text.lstrip().startswith("<div")
    assert "Pending" in fragment.text
    fake.pay(session_of(fake, path))
    # a look again does not ask Stripe while somebody else may do so
    (payment,) = await rows(gateway, select(tables.payments))
    await gateway.services.payments.reconciler.reconcile(payment.id)
    done = await browser.get(path, headers=POLL)
    assert "Credited" in done.text
    assert "hx-trigger" not in done.text


@pytest.fixture
def asked(gateway: Process, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The payments that Stripe was asked for."""
    asked = []
    reconcile = gateway.services.payments.reconciler.reconcile

    async def noted(payment_id: str) -> Any:
        asked.append(payment_id)
        return await reconcile(payment_id)

    monkeypatch.setattr(gateway.services.payments.reconciler, "reconcile", noted)
    return asked


async def test_a_look_again_asks_stripe_unless_somebody_does(
    browser: Browser, gateway: Process, fake: FakeStripe, path: str, asked: list[str]
):
    await browser.get(path, headers=POLL)
    assert len(asked) == 1
    async with gateway.core.database.write() as connection:  # as it is while somebody reads it
        await connection.execute(
            tables.payments.update().values(due_at=wall.now() + pages.CLAIMED / 2)
        )
    await browser.get(path, headers=POLL)
    assert len(asked) == 1
    await browser.get(path)  # a person who comes, or comes back, is answered
    assert len(asked) == 2
    fake.pay(session_of(fake, path))
    await browser.get(path)
    await browser.get(path)  # nothing is open any more
    assert len(asked) == 3


@pytest.mark.parametrize("fault", ["", "refused"])
async def test_stripe_is_asked_once_in_a_moment_however_often_a_page_is_loaded(
    browser: Browser, fake: FakeStripe, path: str, asked: list[str], fault: str,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr(pages, "ASKED_ANEW", timedelta(minutes=1))
    if fault:
        fake.faults.add(fault, times=1_000)
    for _ in range(5):
        assert (await browser.get(path)).status_code == 200
        await browser.get(path, headers=POLL)
    assert len(asked) == 1


@pytest.mark.parametrize("fault", ["refused", "busy", "hang"])
async def test_while_stripe_is_away_it_says_so_in_bounded_time(
    browser: Browser, fake: FakeStripe, path: str, fault: str, monkeypatch: pytest.MonkeyPatch
):
    fake.faults.add(fault, times=1_000)
    with monkeypatch.context() as patch:
        patch.setattr(pages, "STRIPE_SECONDS", 0.2)
        async with asyncio.timeout(15):  # a call to Stripe itself may take 20 seconds
            page = squeezed((await browser.get(path)).text)
    assert "We can't reach Stripe right now." in page
    assert "checkout/cs_" not in page  # it may be paid already
    fake.faults.clear()
    fake.faults.release()
    fake.pay(session_of(fake, path))
    assert "Credited" in (await browser.get(path)).text


async def test_failures_and_what_went_back_are_told(
    browser: Browser, gateway: Process, fake: FakeStripe, path: str
):
    fake.pay(session_of(fake, path))
    await browser.get(path)
    (payment,) = await rows(gateway, select(tables.payments))
    fake.refund(payment.intent_id, 1_000)
    await gateway.services.payments.reconciler.reconcile(payment.id)
    page = squeezed((await browser.get(path)).text)
    assert "Partly refunded" in page
    assert "<dt>Refunded</dt><dd>$10.00</dd>" in page
    fake.dispute(payment.intent_id)
    await gateway.services.payments.reconciler.reconcile(payment.id)
    assert "Disputed" in (await browser.get(path)).text
    billing = squeezed((await browser.get(BILLING)).text)
    assert "A payment is disputed." in billing
    assert "Disputed" in billing


async def test_others_payments_are_not_there(gateway: Process, path: str):
    eve = await stranger_to(gateway)
    for there in (path, f"{BILLING}/payments/{new_id()}", f"{BILLING}/payments/nonsense"):
        answer = await eve.get(there)
        assert answer.status_code == 404, there
    payment_id = path.rpartition("/")[2]
    listed = await eve.get(f"{BILLING}/payments")
    assert payment_id not in listed.text
    await eve.close()


async def test_members_see_it_but_not_the_page_to_pay(
    browser: Browser, gateway: Process, path: str
):
    bob = await member_of(browser, gateway, "bob@example.org")
    page = await bob.get(path)
    assert "Pending" in page.text
    assert "checkout/cs_" not in page.text
    await bob.close()


async def test_documents_are_the_owners(
    browser: Browser, gateway: Process, fake: FakeStripe, path: str
):
    fake.pay(session_of(fake, path))
    await browser.get(path)
    (payment,) = await rows(gateway, select(tables.payments))
    bob = await member_of(browser, gateway, "bob@example.org")
    for there in (path, BILLING, f"{BILLING}/payments"):
        page = (await bob.get(there)).text
        assert "Credited" in page
        for url in (payment.invoice_url, payment.receipt_url):
            assert url
            assert url in (await browser.get(there)).text
            assert url not in page
    await bob.close()


async def test_older_payments_are_on_pages_of_their_own(
    browser: Browser, gateway: Process, path: str
):
    (first,) = await rows(gateway, select(tables.payments))
    values = {**first._mapping, "session_id": None, "state": "expired"}
    ids = sorted(new_id() for _ in range(60))
    async with gateway.core.database.write() as connection:
        await connection.execute(insert(tables.payments), [values | {"id": each} for each in ids])
    with counted(gateway) as statements:
        page = await browser.get(BILLING)
    assert len(statements) <= QUERIES_MAX
    assert page.text.count("Expired") == 10
    after = f"{BILLING}/payments?before={ids[-10]}"
    assert f'href="{after}"' in page.text
    rest = await browser.get(after)
    assert rest.text.count("Expired") == 50
    last = await browser.get(f"{BILLING}/payments?before={ids[0]}")
    assert "Older" not in last.text
    assert path in last.text
    assert (await browser.get(f"{BILLING}/payments?before=nonsense")).status_code == 200
