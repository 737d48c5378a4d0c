"""Customers at Stripe: one an organization, whose newest card counts, whatever events say."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.control_plane.payments import customers
from gateway.control_plane.payments.customers import BuyingOnHold, Customer
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage.database import Database
from testing.stripe import fake_stripe
from testing.top_ups import TopUps, top_ups

pytestmark = pytest.mark.sqlite


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
async def shop(database: Database, fake: FakeStripe) -> AsyncIterator[TopUps]:
    async with top_ups(database, fake) as opened:
        yield opened


async def test_a_lost_answer_makes_no_second_customer(shop: TopUps):
    shop.fake.faults.add("lost", "customers.create")
    await delete(shop)
    with pytest.raises(StripeFailure):
        await shop.customers.ensure(shop.organization_id)
    made = await shop.customers.ensure(shop.organization_id)
    assert made == await shop.customers.ensure(shop.organization_id)
    living = [one for one in shop.fake.all("customer") if not one.get("deleted")]
    assert [one["id"] for one in living] == [made]


@pytest.mark.postgresql
async def test_a_failure_that_stripe_keeps_for_the_key_does_not_last(shop: TopUps):
    await delete(shop)
    shop.fake.faults.add("error_kept", "customers.create")
    with pytest.raises(StripeFailure):
        await shop.customers.ensure(shop.organization_id)
    made = await shop.customers.ensure(shop.organization_id)
    assert (await read(shop)).customer_id == made


async def test_a_deleted_customer_is_forgotten_with_its_card_and_replaced(shop: TopUps):
    before = await read(shop)
    await delete(shop)
    after = await read(shop)
    assert (after.customer_id, after.payment_method_id) == (None, None)
    assert after.generation == before.generation + 1
    assert await shop.customers.ensure(shop.organization_id) != before.customer_id


async def test_the_newest_card_counts(shop: TopUps):
    first = await read(shop)
    assert (first.card_brand, first.card_last_four) == ("visa", "4242")
    assert first.card_expires == "2034-12"
    shop.fake.advance(1)
    newer = shop.fake.save_card(shop.customer_id, "5555555555554444")["id"]
    await shop.customers.refresh(shop.customer_id)
    found = await read(shop)
    assert (found.payment_method_id, found.card_brand) == (newer, "mastercard")
    shop.fake.get("payment_method", newer)["customer"] = None
    await shop.customers.refresh(shop.customer_id)
    assert (await read(shop)).payment_method_id == first.payment_method_id


async def test_a_card_that_its_network_renewed_is_read_anew(shop: TopUps):
    card = await read(shop)
    assert card.payment_method_id is not None
    shop.fake.replace_card(card.payment_method_id)
    await shop.customers.refresh(shop.customer_id)
    found = await read(shop)
    assert (found.card_last_four, found.card_expires) == ("4444", "2038-12")


async def test_reading_the_same_again_changes_nothing(shop: TopUps):
    before = await read(shop)
    await shop.customers.refresh(shop.customer_id)
    await shop.customers.refresh("cus_of_someone_else")
    assert await read(shop) == before


async def test_what_was_changed_while_stripe_was_asked_is_not_overwritten(
    shop: TopUps, monkeypatch: pytest.MonkeyPatch
):
    """The older of two readings comes last."""
    listed = shop.api.payment_methods
    answers = [[]]

    async def old_first(customer_id: str):
        if not answers:
            return await listed(customer_id)
        await shop.hold()  # the row changes meanwhile
        return answers.pop()

    monkeypatch.setattr(shop.api, "payment_methods", old_first)
    await shop.customers.refresh(shop.customer_id)
    assert (await read(shop)).payment_method_id is not None


async def test_the_portal_opens_for_the_customer(shop: TopUps):
    assert (await shop.customers.portal(shop.organization_id)).startswith(shop.fake.url)


@pytest.mark.postgresql
async def test_a_warning_holds_once_and_a_released_one_never_again(shop: TopUps):
    async with shop.database.write() as connection:
        who = shop.organization_id
        await customers.check_not_held(connection, who)
        assert await customers.hold(connection, who, "warning 1", shop.now)
        assert not await customers.hold(connection, who, "warning 1", shop.now)
        with pytest.raises(BuyingOnHold):
            await customers.check_not_held(connection, who)
        (one,) = await customers.held(connection, 10)
        assert (one.organization_id, one.held_reason) == (who, "warning 1")
        assert await customers.release(connection, who, shop.now)
        assert await customers.release(connection, who, shop.now) is None
        assert not await customers.hold(connection, who, "warning 1", shop.now)
        await customers.check_not_held(connection, who)
        assert await customers.hold(connection, who, "warning 2", shop.now)


async def test_a_warning_during_a_hold_is_shown_and_released_with_it(shop: TopUps):
    who, later = shop.organization_id, shop.now + timedelta(hours=1)
    async with shop.database.write() as connection:
        assert await customers.hold(connection, who, "warning 1", shop.now)
        assert await customers.hold(connection, who, "warning 2", later)
        (one,) = await customers.held(connection, 10)
        assert (one.held_at, one.held_reason) == (shop.now, "warning 1; warning 2")
        assert await customers.release(connection, who, later) == "warning 1; warning 2"
        for reason in ("warning 1", "warning 2"):
            assert not await customers.hold(connection, who, reason, later)
        await customers.check_not_held(connection, who)


async def test_who_never_bought_can_be_held(database: Database, fake: FakeStripe):
    async with top_ups(database, fake) as shop, database.write() as connection:
        other = (await shop.another_organization(connection)).id
        assert await customers.hold(connection, other, "warning 1", shop.now)


async def delete(shop: TopUps) -> None:
    """Delete the customer in Stripe's dashboard."""
    await shop.delete_customer()
    await shop.customers.refresh(shop.customer_id)


async def read(shop: TopUps) -> Customer:
    async with shop.database.read() as connection:
        found = await customers.read(connection, shop.organization_id)
    assert found is not None
    return found
