"""Buying: our row is first, and asking again makes nothing twice."""

import asyncio

import pytest

from gateway.control_plane.payments import customers
from gateway.control_plane.payments.checkout import (
    CUSTOM_DOLLARS_MAX,
    CUSTOM_DOLLARS_MIN,
    OPEN_MAX,
    BuyingStarted,
    TooManyOpen,
)
from gateway.control_plane.payments.customers import BuyingOnHold
from gateway.control_plane.payments.stripe_failures import StripeBusy, StripeDown
from gateway.data_plane.metering.port import AccountSuspended, AccountUnderReview
from gateway.errors import BadRequest
from gateway.fake_stripe import customers as fake_customers
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import freezes
from testing.buying import Shop, opened_shop
from testing.stripe import fake_stripe

pytestmark = pytest.mark.sqlite


async def test_buying_credits_what_the_row_says(shop: Shop):
    payment = await shop.bought(25)
    assert (payment.state, payment.received_cents, payment.attention) == ("paid", 2500, "")
    assert await shop.available_cents() == 2500
    assert payment.invoice_number
    assert payment.receipt_url
    assert payment.country
    await shop.assert_sound()


async def test_tax_is_received_and_is_no_credit(database, fake):
    async with opened_shop(database, fake, stripe_tax=True) as shop:
        payment = await shop.start(10)
        fake.pay(payment.session_id, country="DE")
        payment = await shop.reconciler.reconcile(payment.id)
        assert payment.tax_cents > 0
        assert payment.received_cents == 1000 + payment.tax_cents
        assert await shop.available_cents() == 1000
        assert (await shop.books())["tax_payable"] == payment.tax_cents
        await shop.assert_sound()


async def test_the_page_is_open_and_names_the_payment(shop: Shop):
    payment = await shop.start(10)
    assert (payment.state, payment.origin) == ("open", "checkout")
    session = shop.fake.get("checkout.session", payment.session_id)
    assert session["metadata"] == {
        "payment_id": payment.id,
        "organization_id": shop.organization_id,
        "credit_cents": "1000",
    }
    assert payment.session_url == session["url"]
    assert session["expires_at"] == int(payment.expires_at.timestamp())


async def test_a_form_that_is_sent_twice_makes_one_payment(shop: Shop):
    payment_id = new_id()
    first = await shop.start(10, payment_id=payment_id)
    second = await shop.start(10, payment_id=payment_id)
    assert first == second
    assert len(await shop.rows(tables.payments)) == 1
    assert len(list(shop.fake.all("checkout.session"))) == 1


@pytest.mark.postgresql
async def test_a_form_that_is_sent_twice_at_once_makes_one_payment(shop: Shop):
    payment_id = new_id()
    done = await asyncio.gather(
        *(shop.start(10, payment_id=payment_id) for _ in range(4)), return_exceptions=True
    )
    assert all(not isinstance(one, Exception) or isinstance(one, StripeBusy) for one in done)
    payment = await shop.start(10, payment_id=payment_id)
    assert payment.state == "open"
    assert len(list(shop.fake.all("checkout.session"))) == 1


@pytest.mark.parametrize("fault", ["lost", "error_after", "refused", "busy"])
async def test_whatever_gets_lost_the_same_form_gives_one_page(shop: Shop, fault: str):
    payment_id = new_id()
    shop.fake.faults.add(fault, "checkout.sessions.create")
    with pytest.raises((StripeDown, StripeBusy)):
        await shop.start(10, payment_id=payment_id)
    payment = await shop.start(10, payment_id=payment_id)
    assert payment.state == "open"
    assert len(list(shop.fake.all("checkout.session"))) == 1
    assert len(list(shop.fake.all("customer"))) == 1


async def test_another_purchase_with_the_same_form_is_refused(shop: Shop):
    payment_id = new_id()
    await shop.start(10, payment_id=payment_id)
    with pytest.raises(BuyingStarted):
        await shop.start(25, payment_id=payment_id)
    with pytest.raises(BuyingStarted):
        await shop.start(10, payment_id=payment_id, save_card=True)


async def test_the_form_of_another_organization_is_refused(database, fake, shop: Shop):
    payment_id = new_id()
    await shop.start(10, payment_id=payment_id)
    async with opened_shop(database, fake) as other:
        with pytest.raises(BuyingStarted):
            await other.start(10, payment_id=payment_id)


async def test_amounts_below_the_least_or_not_whole(shop: Shop):
    for cents in (0, -500, CUSTOM_DOLLARS_MIN * 100 - 1, 1050, 2501):
        with pytest.raises(BadRequest):
            await shop.checkout.start(shop.organization_id, None, cents, save_card=False)
    assert await shop.rows(tables.payments) == []


async def test_amounts_above_the_most(shop: Shop):
    with pytest.raises(BadRequest):
        await shop.start(CUSTOM_DOLLARS_MAX + 1)
    assert (await shop.start(CUSTOM_DOLLARS_MAX)).state == "open"


async def test_too_many_open_payments(shop: Shop):
    for _ in range(OPEN_MAX):
        payment = await shop.start(10)
    with pytest.raises(TooManyOpen):
        await shop.start(10)
    shop.fake.pay(payment.session_id)
    await shop.reconciler.reconcile(payment.id)
    assert (await shop.start(10)).state == "open"


async def test_who_is_held_can_not_buy(shop: Shop):
    payment = await shop.start(10)
    async with shop.database.write() as connection:
        await customers.hold(connection, shop.organization_id, "a warning", payment.created_at)
    with pytest.raises(BuyingOnHold):
        await shop.start(10)


@pytest.mark.parametrize("cause", ["operator", "books", "dispute"])
async def test_who_is_suspended_or_under_review_can_not_buy(shop: Shop, cause: freezes.StoredCause):
    async with shop.database.write() as connection:
        await freezes.freeze(connection, shop.organization_id, cause)
    if cause == "dispute":  # it may pay what it owes
        assert (await shop.start(10)).state == "open"
        return
    with pytest.raises((AccountSuspended, AccountUnderReview)):
        await shop.start(10)
    assert await shop.rows(tables.payments) == []


@pytest.mark.postgresql
async def test_a_customer_that_was_deleted_is_replaced(shop: Shop):
    await shop.start(10)
    first = (await shop.rows(tables.payment_customers))[0]["customer_id"]
    fake_customers.delete(shop.fake, first)
    payment = await shop.start(10, payment_id=new_id())
    assert payment.state == "open"
    assert payment.customer_id != first


async def test_a_fake_that_starts_anew_sells_to_those_it_has_forgotten(
    database: Database, fake: FakeStripe
):
    """Its ids are others than before, so that nothing is taken for something else."""
    async with opened_shop(database, fake) as shop:
        await shop.bought(25)
        owner = shop.organization_id
        async with fake_stripe() as another, opened_shop(database, another) as later:
            later.organization_id = owner
            payment = await later.bought(10)
            assert (payment.state, payment.posted_nanos) == ("paid", 10 * 10**9)
            states = sorted(row["state"] for row in await later.rows(tables.payments))
            assert states == ["failed", "paid", "paid"]


@pytest.mark.postgresql
async def test_a_second_request_leaves_a_payment_due_when_it_is(shop: Shop):
    """The buyer is back already, and the first answer comes late."""
    payment = await shop.start(10)
    await shop.make_due(payment)
    before = (await shop.now(payment)).due_at
    await shop.checkout._open(payment)
    assert (await shop.now(payment)).due_at == before


async def test_a_saved_card_is_known_after_the_payment(shop: Shop):
    payment = await shop.bought(10, save_card=True)
    [customer] = await shop.rows(tables.payment_customers)
    assert customer["payment_method_id"] == payment.payment_method_id
    assert customer["card_last_four"]
    assert customer["card_fingerprint"] == payment.card_fingerprint != ""


async def test_a_card_is_not_saved_unasked(shop: Shop):
    await shop.bought(10)
    [customer] = await shop.rows(tables.payment_customers)
    assert customer["payment_method_id"] is None


async def test_nothing_that_names_a_buyer_is_stored(shop: Shop):
    payment = await shop.start(10, save_card=True)
    shop.fake.pay(payment.session_id, name="Ada Lovelace", email="ada@example.org")
    await shop.reconciler.reconcile(payment.id)
    for table in (tables.payments, tables.payment_customers, tables.stripe_events):
        for row in await shop.rows(table):
            assert "Lovelace" not in str(row)
            assert "ada@" not in str(row)
