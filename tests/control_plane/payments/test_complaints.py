"""What buyers of other gateways complained of: paid without credit, or credited twice.

Each is a thread in public: pollinations #10621, opencode #28402, open-saas #688, llmgateway #1713.
"""

import asyncio

import pytest

from gateway.control_plane.payments import stored_events
from gateway.control_plane.payments.events import TYPES
from gateway.storage import tables
from testing.buying import Shop, opened_shop
from tests.control_plane.payments.test_event_routes import event, hear, taken
from tests.control_plane.payments.test_sweep import swept

pytestmark = pytest.mark.sqlite


async def test_paid_but_no_credit_because_the_webhook_was_down(shop: Shop):
    payment = await shop.buy(25)  # every event is lost, and the buyer closes the tab
    await shop.make_due()
    await swept(shop)
    assert (await shop.now(payment)).state == "paid"
    assert await shop.available_cents() == 2500


@pytest.mark.postgresql
async def test_paid_but_no_credit_because_the_handler_failed_half_way(shop: Shop):
    await shop.buy(25)
    heard = event(shop, "checkout.session.completed")
    shop.fake.faults.add("error_before", "payment_intents.retrieve")
    await hear(shop, heard)
    assert await shop.available_cents() == 0
    await hear(shop, heard)  # Stripe repeats it: it is known, which must not mean that it is done
    await shop.make_due()
    await shop.reconciler.run()
    assert await shop.available_cents() == 2500


async def test_credited_twice_because_two_events_say_paid(shop: Shop):
    await shop.buy(25)
    await hear(
        shop, event(shop, "checkout.session.completed"), event(shop, "payment_intent.succeeded")
    )
    assert await shop.available_cents() == 2500


@pytest.mark.postgresql
async def test_credited_twice_because_the_success_page_and_the_webhook_race(
    database, fake, shop: Shop
):
    payment = await shop.buy(25)
    async with opened_shop(database, fake) as other:
        for one in fake.all("event"):
            if one["type"] in TYPES:
                await stored_events.put(database, taken(one))
        await asyncio.gather(
            other.reconciler.run(),
            *(shop.reconciler.reconcile(payment.id) for _ in range(5)),
            other.reconciler.run(),
        )
    await shop.make_due()
    await shop.reconciler.run()
    assert await shop.available_cents() == 2500
    assert len(await shop.rows(tables.ledger_entries)) == 1


async def test_credited_twice_because_the_button_was_clicked_twice(shop: Shop):
    first, second = await shop.start(25), await shop.start(25)
    shop.fake.pay(first.session_id)
    for payment in (first, second):
        await shop.reconciler.reconcile(payment.id)
    assert await shop.available_cents() == 2500


async def test_credited_while_unpaid_because_completed_was_taken_for_paid(shop: Shop):
    payment = await shop.buy(25, "bank_debit")
    await hear(shop, event(shop, "checkout.session.completed"))
    assert (await shop.now(payment)).state == "processing"
    assert await shop.available_cents() == 0


async def test_credited_for_a_refund_whose_event_came_before_the_payment(shop: Shop):
    await shop.buy(25)
    [intent] = shop.fake.all("payment_intent")
    shop.fake.refund(intent["id"])
    await hear(shop, event(shop, "charge.refunded"))
    await hear(shop, event(shop, "payment_intent.succeeded"))
    assert await shop.available_cents() == 0
    await shop.assert_sound()


async def test_credit_that_tax_made_larger(database, fake):
    async with opened_shop(database, fake, stripe_tax=True) as shop:
        payment = await shop.start(100)
        fake.pay(payment.session_id, country="DE")
        payment = await shop.reconciler.reconcile(payment.id)
        assert payment.received_cents > 10_000
        assert await shop.available_cents() == 10_000
