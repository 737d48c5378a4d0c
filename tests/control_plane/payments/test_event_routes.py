"""What events lead to, in any order and any number."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway import wall
from gateway.app.upkeep import forget_old
from gateway.control_plane.accounts import organizations
from gateway.control_plane.payments import payments, stored_events
from gateway.control_plane.payments.event_routes import AT_ONCE, _customer_of_card
from gateway.control_plane.payments.events import TYPES, StripeEvent, parse
from gateway.control_plane.payments.outage import FAILURES_MAX
from gateway.control_plane.payments.stripe_api import API_VERSION
from gateway.fake_stripe.events import signature, thin
from gateway.storage import tables
from testing.buying import WEBHOOK_SECRET, Shop, selling

pytestmark = pytest.mark.sqlite

NOW = datetime.now(UTC)


def event(shop: Shop, kind: str, *, is_thin: bool = False) -> StripeEvent:
    """Return the newest event of a type, as the webhook takes it."""
    made = next(shop.fake.all("event", type=kind))
    return taken(thin(made) if is_thin else made)


def taken(made: dict[str, Any]) -> StripeEvent:
    body = json.dumps(made)
    header = signature(body, WEBHOOK_SECRET, timestamp=0)
    return parse(body.encode(), header, [WEBHOOK_SECRET], live=False, version=API_VERSION, now=0)


async def hear(shop: Shop, *events: StripeEvent) -> None:
    """Store events, and do what they lead to."""
    for one in events:
        await stored_events.put(shop.database, one)
    await shop.reconciler.run()


async def left(shop: Shop) -> list[str]:
    return [row["id"] for row in await shop.rows(tables.stripe_events) if row["due_at"]]


@pytest.mark.parametrize("is_thin", [False, True])
async def test_a_payment_is_credited_when_its_event_comes(shop: Shop, is_thin: bool):
    payment = await shop.buy(25)
    await hear(shop, event(shop, "payment_intent.succeeded", is_thin=is_thin))
    assert (await shop.now(payment)).state == "paid"
    assert await shop.available_cents() == 2500
    assert await left(shop) == []


@pytest.mark.postgresql
async def test_all_events_of_a_purchase_shuffled_and_repeated(shop: Shop):
    payment = await shop.buy(25)
    await hear(shop, event(shop, "checkout.session.completed"))
    intent = (await shop.now(payment)).intent_id
    shop.fake.refund(intent, 500)
    dispute = shop.fake.dispute(intent, amount=1000)
    shop.fake.close_dispute(dispute["id"], "won")
    made = [taken(one) for one in shop.fake.all("event") if one["type"] in TYPES]
    assert len(made) > 5
    for seed in range(3):
        order = made * 2
        random.Random(seed).shuffle(order)
        await hear(shop, *order)
        assert await shop.available_cents() == 2000
    await shop.assert_sound()


async def test_events_of_known_payments_cost_no_call_to_stripe(shop: Shop):
    payment = await shop.bought(25)
    made = [taken(one) for one in shop.fake.all("event") if one["type"].startswith("payment_i")]
    shop.fake.calls.clear()
    for one in made:
        await stored_events.put(shop.database, one)
    async with shop.database.write() as connection:
        claimed = await stored_events.claim(connection, 100)
    assert {one.id for one in claimed} == {one.id for one in made}
    assert len(shop.fake.calls) == 0
    assert payment.intent_id


async def test_an_event_while_stripe_is_away_is_tried_later(shop: Shop):
    await shop.buy(25)
    heard = event(shop, "payment_intent.succeeded", is_thin=True)
    shop.fake.faults.add("error_before", "*", times=50)
    await hear(shop, heard)
    assert await left(shop) == [heard.id]
    shop.fake.faults.clear()


async def test_an_event_of_something_that_is_not_ours(shop: Shop):
    foreign = StripeEvent(
        "evt_x", "payment_intent.succeeded", "pi_nobody", "pi_nobody", None, None, NOW
    )
    await hear(shop, foreign)
    assert await left(shop) == []
    assert await shop.rows(tables.payments) == []


async def test_an_early_fraud_warning_holds_the_buyer_and_moves_nothing(shop: Shop):
    payment = await shop.bought(25)
    shop.fake.warn(payment.intent_id)
    await hear(shop, event(shop, "radar.early_fraud_warning.created"))
    [customer] = await shop.rows(tables.payment_customers)
    assert customer["held_at"]
    assert payment.id in customer["held_reason"]
    assert await shop.available_cents() == 2500
    assert await shop.causes() == []


async def test_a_removed_card_is_forgotten(shop: Shop):
    payment = await shop.bought(25, save_card=True)
    assert payment.payment_method_id
    method = shop.fake.get("payment_method", payment.payment_method_id)
    method["customer"] = None
    shop.fake.emit("payment_method.detached", method)
    await hear(shop, event(shop, "payment_method.detached"))
    [customer] = await shop.rows(tables.payment_customers)
    assert customer["payment_method_id"] is None


async def test_a_renewed_card_is_read_anew(shop: Shop):
    payment = await shop.bought(25, save_card=True)
    assert payment.payment_method_id
    shop.fake.replace_card(payment.payment_method_id)
    await hear(shop, event(shop, "payment_method.automatically_updated"))
    [customer] = await shop.rows(tables.payment_customers)
    assert customer["card_last_four"] == "4444"


async def test_a_deleted_customer_is_forgotten(shop: Shop):
    payment = await shop.bought(25, save_card=True)
    customer = shop.fake.get("customer", payment.customer_id or "")
    customer["deleted"] = True
    shop.fake.emit("customer.deleted", customer)
    await hear(shop, event(shop, "customer.deleted"))
    [row] = await shop.rows(tables.payment_customers)
    assert (row["customer_id"], row["payment_method_id"], row["generation"]) == (None, None, 2)


async def test_a_payment_without_an_id_of_stripes_gets_it_from_the_event(shop: Shop):
    payment = await shop.buy(25)
    async with shop.database.write() as connection:
        unnoted = {"session_id": None, "intent_id": None, "state": "started"}
        await payments.change(connection, payment.id, unnoted)
    await hear(shop, event(shop, "checkout.session.completed"))
    found = await shop.now(payment)
    assert found.intent_id
    assert found.state == "paid"
    assert await shop.available_cents() == 2500


async def test_a_row_that_is_missing_is_made_from_the_event(shop: Shop):
    payment = await shop.buy(25)
    heard = event(shop, "payment_intent.succeeded")
    async with shop.database.write() as connection:
        await connection.execute(tables.payments.delete())
    await hear(shop, heard)
    found = await shop.now(payment)
    assert (found.origin, found.state) == ("found", "paid")
    assert await shop.available_cents() == 2500
    await shop.assert_sound()


async def test_a_card_is_its_own_customers(shop: Shop):
    async with shop.database.write() as connection:
        for name in ("a", "b"):
            made = await organizations.create(connection, name)
            blank = dict.fromkeys(
                ("card_brand", "card_last_four", "card_expires", "card_fingerprint"), ""
            )
            await connection.execute(
                tables.payment_customers.insert().values(
                    organization_id=made.id, generation=1, customer_id=f"cus_{name}",
                    payment_method_id=f"pm_{name}", held_reason="", changed_at=NOW, **blank,
                )
            )  # fmt: skip
        for name in ("a", "b"):
            assert await _customer_of_card(connection, f"pm_{name}") == f"cus_{name}"
        assert await _customer_of_card(connection, "pm_c") is None


async def test_of_many_events_the_oldest_are_taken_first(shop: Shop):
    for number in range(3):
        about = StripeEvent(f"evt_{number}", "customer.deleted", "cus_1", None, None, None, NOW)
        await stored_events.put(shop.database, about)
    async with shop.database.write() as connection:
        taken_now = [await stored_events.claim(connection, 2) for _ in range(2)]
    assert [{one.id for one in some} for some in taken_now] == [{"evt_0", "evt_1"}, {"evt_2"}]


async def test_old_events_are_forgotten(shop: Shop):
    await shop.buy(25)
    await hear(shop, event(shop, "payment_intent.succeeded"))
    async with shop.database.write() as connection:
        assert await stored_events.forget_old(connection) == 0
        old = NOW - stored_events.KEPT
        await connection.execute(tables.stripe_events.update().values(received_at=old))
        assert await stored_events.forget_old(connection) == 1


async def test_a_payment_that_enters_stripes_balance_later_is_booked(shop: Shop):
    shop.fake.books_late = True
    payment = await shop.bought(25)
    shop.fake.post_balances()
    await hear(shop, event(shop, "charge.updated"))
    [booked] = await shop.rows(tables.stripe_transactions)
    assert booked["payment_id"] == payment.id


async def test_an_event_is_due_by_the_database_time(shop: Shop, monkeypatch):
    if shop.database.is_sqlite:
        pytest.skip("its time is the process's")
    monkeypatch.setattr(wall, "ahead_ns", wall.ahead_ns + 3_600 * 10**9)
    payment = await shop.buy(25)
    await hear(shop, event(shop, "payment_intent.succeeded"))
    assert (await shop.now(payment)).state == "paid"


@pytest.mark.postgresql
async def test_old_events_are_forgotten_however_many(shop: Shop, monkeypatch):
    monkeypatch.setattr(stored_events, "_FORGOTTEN_AT_ONCE", 2)
    for number in range(5):
        about = StripeEvent(f"evt_{number}", "customer.deleted", "cus_1", None, None, None, NOW)
        await stored_events.put(shop.database, about)
    old = NOW - stored_events.KEPT
    async with shop.database.write() as connection:
        await connection.execute(tables.stripe_events.update().values(received_at=old))
    await forget_old(shop.database, selling(str(shop.database.url), shop.fake))
    assert await shop.rows(tables.stripe_events) == []


@pytest.mark.postgresql
async def test_while_stripe_is_away_a_few_events_are_tried_and_the_others_wait(shop: Shop):
    for number in range(20):  # of cards that only Stripe knows
        about = StripeEvent(
            f"evt_{number}", "payment_method.attached", f"pm_{number}", None, None, None, NOW
        )
        await stored_events.put(shop.database, about)
    shop.fake.calls.clear()
    shop.fake.faults.add("error_before", "*", times=100)
    await shop.reconciler.run()
    assert len(shop.fake.calls) <= AT_ONCE + FAILURES_MAX
    assert shop.reconciler.is_held_up
    assert len(await left(shop)) == 20

    shop.fake.faults.clear()
    await shop.reconciler.run()
    assert not shop.reconciler.is_held_up
