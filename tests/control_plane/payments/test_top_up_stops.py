"""What stops auto top-up: money that went back, and what an owner changed."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from gateway.control_plane.payments import facts, top_up_stops
from gateway.control_plane.payments.payments import Payment
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage.database import Database
from testing.stripe import fake_stripe
from testing.top_ups import RULES, TopUps, top_ups

pytestmark = pytest.mark.sqlite

OFF = msgspec.structs.replace(RULES, enabled=False)


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
async def shop(database: Database, fake: FakeStripe) -> AsyncIterator[TopUps]:
    """An organization with a good card and no credit."""
    async with top_ups(database, fake) as opened:
        yield opened


def test_what_went_back_is_what_the_reconciler_takes_for_it():
    assert set(top_up_stops.TAKES_BACK) == facts.TAKES_BACK
    assert set(top_up_stops.DISPUTED) == facts.DISPUTED


@pytest.mark.parametrize("by", ["us", "dashboard", "nobody yet"])
async def test_a_refund_is_not_charged_again_until_an_owner_saves(shop: TopUps, by: str):
    payment = await bought(shop)
    match by:
        case "us":
            await shop.refunds.refund(payment.id, None, "unhappy")
        case "dashboard":
            shop.fake.refund(str(payment.intent_id))
            await shop.reconciler.reconcile(payment.id)
        case _:
            shop.fake.faults.add("refused", "refunds.create")
            await shop.refunds.refund(payment.id, None, "unhappy")
            await shop.spend()
    await later(shop)
    assert shop.tries() == 1
    assert (await shop.settings()).paused == "refunded"
    await shop.save(RULES)
    await later(shop)
    assert shop.tries() == 2
    assert (await shop.settings()).paused == ""


async def test_a_refund_that_failed_stops_nothing(shop: TopUps):
    payment = await bought(shop)
    made = await shop.refunds.refund(payment.id, None, "unhappy")
    shop.fake.settle_refund(str(made.refund_id), "failed")
    await shop.reconciler.reconcile(payment.id)
    await shop.spend()
    await later(shop)
    assert shop.tries() == 2


async def test_a_card_whose_dispute_is_lost_is_not_charged_again(shop: TopUps):
    payment = await bought(shop)
    await shop.spend()
    dispute = shop.fake.dispute(str(payment.intent_id))
    await shop.reconciler.reconcile(payment.id)
    await later(shop)
    shop.fake.close_dispute(dispute["id"], "lost")
    await shop.reconciler.reconcile(payment.id)
    await shop.save(RULES)
    await later(shop)
    assert shop.tries() == 1
    assert (await shop.settings()).paused == "disputed"
    # a card of its own does not go on by itself: an owner says so
    await shop.save_card("insufficient_funds")
    await shop.save(RULES)
    await later(shop)
    assert shop.tries() == 2


async def test_another_card_waits_for_an_owner_after_a_dispute(shop: TopUps):
    payment = await bought(shop)
    await shop.spend()
    dispute = shop.fake.dispute(str(payment.intent_id))
    shop.fake.close_dispute(dispute["id"], "lost")
    await shop.reconciler.reconcile(payment.id)
    await shop.save_card("insufficient_funds")
    await later(shop)
    assert (shop.tries(), (await shop.settings()).paused) == (1, "disputed")


async def test_a_won_dispute_lets_it_go_on(shop: TopUps):
    payment = await bought(shop)
    dispute = shop.fake.dispute(str(payment.intent_id))
    await shop.reconciler.reconcile(payment.id)
    shop.fake.close_dispute(dispute["id"], "won")
    await shop.reconciler.reconcile(payment.id)
    await shop.spend()
    await later(shop)
    assert shop.tries() == 2


@pytest.mark.parametrize("how", ["off", "card"])
async def test_what_an_owner_changed_stops_what_was_not_sent(shop: TopUps, how: str):
    await shop.starts.run(shop.now)
    await change(shop, how)
    await shop.attempts.run()
    payment, *_ = await shop.payments()
    assert (payment.state, shop.tries()) == ("canceled", 0)


@pytest.mark.parametrize("how", ["off", "card"])
async def test_what_an_owner_changed_stops_what_was_sent_from_being_sent_again(
    shop: TopUps, how: str
):
    shop.fake.faults.add("refused", "payment_intents.create")
    await shop.attempts.run()
    await change(shop, how)
    for _ in range(3):
        shop.wait(minutes=10)
        await shop.attempts.run()
    payment, *_ = await shop.payments()
    assert shop.tries() == 0
    assert payment.state == "started"


async def test_what_was_charged_before_it_was_switched_off_is_credited(shop: TopUps):
    shop.fake.faults.add("lost", "payment_intents.create")
    await shop.attempts.run()
    await change(shop, "off")
    shop.wait(minutes=10)
    await shop.attempts.run()
    assert (await shop.available_cents(), shop.tries()) == (2_500, 1)


async def bought(shop: TopUps) -> Payment:
    await shop.attempts.run()
    (payment,) = await shop.payments()
    assert payment.state == "paid"
    return payment


async def change(shop: TopUps, how: str) -> None:
    """Switch it off, or save another card."""
    if how == "off":
        await shop.save(OFF)
    else:
        await shop.save_card("insufficient_funds")


async def later(shop: TopUps) -> None:
    """Run the job when no interval or limit is in its way."""
    shop.wait(seconds=timedelta(hours=1).total_seconds())
    await shop.attempts.run()
