"""What can't be read or routed waits by itself, and stops nothing beside it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from gateway.app.payments import _HELD_UP_SECONDS
from gateway.control_plane.payments import event_routes, facts, reconciler, stored_events
from gateway.control_plane.payments.events import StripeEvent
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.reconciler import (
    ATTENTION_AFTER,
    CLAIMED,
    READ_SECONDS,
    TURN_SECONDS,
)
from gateway.control_plane.payments.stripe_api import StripeDown
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import DatabaseAway
from gateway.wings import JOB_SECONDS
from testing.buying import Shop

pytestmark = pytest.mark.sqlite

NOW = datetime.now(UTC)


async def poisoned(shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Payment:
    """Return the first of five due payments, of which reading it raises an error."""
    bad, *others = [await shop.buy(10) for _ in range(5)]
    for payment in others:
        await shop.make_due(payment)
    await shop.make_due(bad, minutes=1)
    read = facts.read

    async def reading(api: Any, payment: Payment) -> Any:
        if payment.id == bad.id:
            raise error
        return await read(api, payment)

    monkeypatch.setattr(facts, "read", reading)
    return bad


@pytest.mark.parametrize(
    "error", [ValueError("poison"), StripeDown("not understood", is_answered=True)]
)
async def test_a_payment_that_can_not_be_read_waits_ever_longer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    bad = await poisoned(shop, monkeypatch, error)
    assert await shop.reconciler.run() == 4
    assert await shop.available_cents() == 4000
    assert await shop.reconciler.run() == 0
    assert not shop.reconciler.is_held_up
    for failures in range(1, ATTENTION_AFTER + 1):
        row = await shop.now(bad)
        assert row.due_at
        wait = (row.due_at - datetime.now(UTC)).total_seconds()
        assert (wait, row.failures) == (pytest.approx(60 * 2 ** (failures - 1), abs=15), failures)
        assert (str(error) in row.attention) == (failures == ATTENTION_AFTER)
        await shop.make_due(bad)
        await shop.reconciler.run()
    monkeypatch.undo()
    await shop.make_due(bad)
    assert await shop.reconciler.run() == 1
    row = await shop.now(bad)
    assert (row.failures, row.attention, row.state) == (0, "", "paid")
    await shop.assert_sound()


async def test_a_database_that_is_away_ends_a_run(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    await poisoned(shop, monkeypatch, DatabaseAway("gone"))
    with pytest.raises(DatabaseAway):
        await shop.reconciler.run()


async def test_a_reading_ends_before_its_claim(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    payment = await shop.buy(10)
    job_seconds = TURN_SECONDS + READ_SECONDS + reconciler._CARD_SECONDS + _HELD_UP_SECONDS
    assert job_seconds < JOB_SECONDS
    assert CLAIMED.total_seconds() > READ_SECONDS + 10
    monkeypatch.setattr(reconciler, "READ_SECONDS", 0.1)
    shop.fake.faults.add("hang", "payment_intents.retrieve")
    with pytest.raises(StripeDown, match="in time"):
        await asyncio.wait_for(shop.reconciler.reconcile(payment.id), 10)
    shop.fake.faults.release()


def foreign(name: str) -> StripeEvent:
    """Return an event that only Stripe can say more of."""
    kind = "payment_method.attached"
    return StripeEvent(f"evt_{name}", kind, f"pm_{name}", None, None, None, NOW)


async def left(shop: Shop) -> dict[str, int]:
    """Return how often each event was taken up that is not finished."""
    rows = await shop.rows(tables.stripe_events)
    return {row["id"]: row["attempts"] for row in rows if row["due_at"]}


@pytest.mark.postgresql
async def test_a_poisonous_event_stops_no_other(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    routes = shop.reconciler._routes
    act = routes._act

    async def acting(event: StripeEvent) -> None:
        if event.id == "evt_2":
            raise ValueError("poison")
        await act(event)

    monkeypatch.setattr(routes, "_act", acting)
    for number in range(8):
        await stored_events.put(shop.database, foreign(str(number)))
    payment = await shop.buy(10)
    await shop.make_due()
    await shop.reconciler.run()
    assert await left(shop) == {"evt_2": 1}
    assert (await shop.now(payment)).state == "paid"
    assert not shop.reconciler.is_held_up


@pytest.mark.postgresql
async def test_events_that_take_long_leave_time_for_payments(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    payment = await shop.buy(10)
    read, at_once = shop.parts.stripe.payment_method, 0

    async def slow(method_id: str) -> Any:
        nonlocal at_once
        at_once += 1
        try:
            await asyncio.sleep(0.05)
            return await read(method_id)
        finally:
            at_once -= 1
            assert at_once < event_routes.AT_ONCE

    monkeypatch.setattr(shop.parts.stripe, "payment_method", slow)
    monkeypatch.setattr(reconciler, "ROUTING_SECONDS", 0.3)
    for _ in range(120):
        await stored_events.put(shop.database, foreign(new_id().replace("-", "")))
    await shop.make_due(payment)
    assert await asyncio.wait_for(shop.reconciler.run(), 20) == 1
    assert len(await left(shop)) > 20  # they wait
    async with shop.database.write() as connection:
        table = tables.stripe_events
        due = update(table).where(table.c.due_at.is_not(None)).values(due_at=NOW)
        await connection.execute(due)
    monkeypatch.setattr(reconciler, "ROUTING_SECONDS", 60.0)
    await shop.reconciler.run()
    assert await left(shop) == {}


@pytest.mark.postgresql
async def test_an_event_that_hangs_is_put_off(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_routes, "EVENT_SECONDS", 0.1)
    await stored_events.put(shop.database, foreign("1"))
    shop.fake.faults.add("hang", "payment_methods.retrieve")
    await asyncio.wait_for(shop.reconciler.run(), 10)
    shop.fake.faults.release()
    assert await left(shop) == {"evt_1": 1}
    assert shop.reconciler.is_held_up
