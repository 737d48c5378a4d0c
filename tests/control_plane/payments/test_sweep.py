"""Payments that no event told of are found in Stripe's lists."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import update

from gateway.control_plane.payments import payments
from gateway.control_plane.payments import sweep as sweeping
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.control_plane.payments.stripe_api import StripeDown
from gateway.control_plane.payments.sweep import BEGINNING, WALK_MAX, WALK_MIN
from gateway.identifiers import new_id
from gateway.observability import metrics
from gateway.storage import tables
from gateway.storage.ledger.postings import database_now
from testing.buying import Shop

pytestmark = pytest.mark.sqlite

LISTS = {"intents", "sessions", "refunds", "disputes", "warnings", "transactions"}


async def swept(shop: Shop) -> int:
    """Walk all lists as if they were due, and reconcile what was found."""
    async with shop.database.write() as connection:
        now = await database_now(connection)
        await connection.execute(update(tables.stripe_cursors).values(due_at=now))
    found = await shop.parts.sweep.run()
    await shop.reconciler.run()
    return found


@pytest.mark.postgresql
async def test_a_payment_whose_answer_was_lost_is_found(shop: Shop):
    shop.fake.faults.add("lost", "checkout.sessions.create")
    payment_id = new_id()
    with pytest.raises(Exception, match="reached"):
        await shop.start(25, payment_id=payment_id)
    [session] = shop.fake.all("checkout.session")
    shop.fake.pay(session["id"])
    assert await swept(shop) >= 1
    async with shop.database.read() as connection:
        payment = await payments.find(connection, payment_id)
    assert (payment.state, payment.session_id) == ("paid", session["id"])
    assert await shop.available_cents() == 2500
    await shop.assert_sound()


@pytest.mark.postgresql
async def test_a_payment_without_a_row_is_found(shop: Shop):
    payment = await shop.buy(25)
    async with shop.database.write() as connection:
        await connection.execute(tables.payments.delete())
    await swept(shop)
    found = await shop.now(payment)
    assert (found.origin, found.state, found.attention) == ("found", "paid", "")
    assert await shop.available_cents() == 2500
    await shop.assert_sound()


async def test_what_is_known_is_not_found_again(shop: Shop):
    await shop.bought(25)
    await shop.bought(10)
    assert await swept(shop) == 0
    assert {row["name"] for row in await shop.rows(tables.stripe_cursors)} == LISTS


async def test_a_refund_and_a_dispute_that_no_event_told_of(shop: Shop):
    one, other = await shop.bought(25), await shop.bought(10)
    shop.fake.refund(one.intent_id, 500)
    shop.fake.dispute(other.intent_id)
    await swept(shop)
    assert await shop.available_cents() == 2000
    assert await shop.causes() == ["dispute"]
    await shop.assert_sound()


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"payment_id": "1"},
        {"payment_id": new_id()},
        {"payment_id": new_id(), "organization_id": new_id(), "credit_cents": "1000"},
        {"payment_id": new_id(), "organization_id": "OURS", "credit_cents": "-5"},
        {"payment_id": new_id(), "organization_id": "OURS", "credit_cents": "99999999"},
    ],
)
async def test_what_is_not_ours_is_left_alone(shop: Shop, metadata: dict[str, str]):
    await shop.buy(25)
    [intent] = shop.fake.all("payment_intent")
    [session] = shop.fake.all("checkout.session")
    said = {
        name: shop.organization_id if value == "OURS" else value for name, value in metadata.items()
    }
    intent["metadata"], session["metadata"] = said, said
    async with shop.database.write() as connection:
        await connection.execute(tables.payments.delete())
    assert await swept(shop) == 0
    assert await shop.rows(tables.payments) == []


@pytest.mark.postgresql
async def test_a_second_intent_that_names_a_payment_brings_nothing(shop: Shop):
    payment, second = await shop.bought(25), await shop.buy(25)
    for kind in ("payment_intent", "checkout.session"):
        newest = next(shop.fake.all(kind))
        newest["metadata"] = {**newest["metadata"], "payment_id": payment.id}
    async with shop.database.write() as connection:
        await connection.execute(tables.payments.delete().where(tables.payments.c.id == second.id))
    await swept(shop)
    assert await shop.available_cents() == 2500
    assert "second" in (await shop.now(payment)).attention


async def test_a_list_that_can_not_be_read_keeps_its_cursor(shop: Shop):
    await swept(shop)
    before = {row["name"]: row["read_until"] for row in await shop.rows(tables.stripe_cursors)}
    shop.fake.faults.add("error_before", "payment_intents.list")
    await swept(shop)
    after = {row["name"]: row["read_until"] for row in await shop.rows(tables.stripe_cursors)}
    assert after["intents"] == before["intents"]


async def test_a_list_is_walked_a_day_at_a_time(shop: Shop):
    shop.fake.calls.clear()
    await shop.parts.sweep.run()
    walked = [given["created"] for name, given in shop.fake.calls if name == "refunds.list"]
    assert len(walked) == 4
    for before, after in pairwise(walked):
        assert int(after["gte"]) < int(before["lt"])
    assert "lt" not in walked[-1]
    async with shop.database.read() as connection:
        now = await database_now(connection)
    for row in await shop.rows(tables.stripe_cursors):
        late = timedelta(hours=1) if row["name"] == "transactions" else timedelta()
        assert now - row["read_until"] < late + timedelta(minutes=5)
        assert row["due_at"] > now


async def test_an_unfinished_payment_is_read_though_nothing_is_heard(shop: Shop):
    payment = await shop.buy(25)
    await shop.make_due()  # ten minutes later
    assert await shop.reconciler.run() == 1
    assert (await shop.now(payment)).posted_nanos == 2500 * CENT_NANOS


async def test_an_auto_top_up_whose_answer_was_lost_is_found(shop: Shop):
    customer = await shop.parts.customers.ensure(shop.organization_id)
    method = shop.fake.save_card(customer)["id"]
    now = datetime.now(UTC)
    attempt = Payment(
        id=new_id(), organization_id=shop.organization_id, origin="auto", state="started",
        credit_nanos=1000 * CENT_NANOS, amount_cents=1000, live=False, customer_id=customer,
        payment_method_id=method, created_at=now, changed_at=now, due_at=now,
    )  # fmt: skip
    async with shop.database.write() as connection:
        await payments.add(connection, attempt)
    metadata = {
        "payment_id": attempt.id,
        "organization_id": shop.organization_id,
        "credit_cents": "1000",
    }
    asked = {
        "amount": 1000, "currency": "usd", "customer": customer, "payment_method": method,
        "off_session": True, "confirm": True,
        "metadata": metadata,
    }  # fmt: skip
    await shop.parts.stripe.create_intent(asked, key=f"payment:{attempt.id}")
    await shop.reconciler.run()
    assert (await shop.now(attempt)).state == "started"  # left to its own job
    await swept(shop)
    found = await shop.now(attempt)
    assert (found.state, bool(found.intent_id)) == ("started", True)
    await shop.parts.auto_top_ups.run()
    assert (await shop.now(attempt)).state == "paid"
    assert await shop.available_cents() == 1000


async def test_a_list_that_is_too_long_is_walked_in_shorter_parts(shop: Shop, monkeypatch):
    intents, days = shop.parts.stripe.intents, []

    async def long(**bounds: Any) -> Any:
        span = (bounds["created_to"] or datetime.now(UTC)) - bounds["created_from"]
        days.append(span / timedelta(days=1))
        if span > timedelta(hours=7):
            raise StripeDown("a list at Stripe has no end", is_answered=True)
        return await intents(**bounds)

    sweep = shop.parts.sweep
    listed = sweep._lists["intents"]._replace(read=long)
    monkeypatch.setitem(sweep._lists, "intents", listed)
    await shop.buy(25)
    for _ in range(8):
        await swept(shop)
    assert days[:3] == pytest.approx([1, 0.5, 0.25], abs=0.02)
    rows = {row["name"]: row["read_until"] for row in await shop.rows(tables.stripe_cursors)}
    assert rows["intents"] - timedelta(hours=20) > datetime.now(UTC) - BEGINNING
    assert rows["disputes"] > datetime.now(UTC) - timedelta(minutes=1)  # the others go on
    for _ in range(20):
        sweep._shorten("intents", "no answer")
    assert sweep._lengths["intents"] == WALK_MIN


@pytest.mark.postgresql
async def test_a_list_that_hangs_is_given_up_for_now(shop: Shop, monkeypatch):
    monkeypatch.setattr(sweeping, "WALK_SECONDS", 0.2)
    shop.fake.faults.add("hang", "refunds.list")
    await swept(shop)
    shop.fake.faults.release()
    rows = {row["name"] for row in await shop.rows(tables.stripe_cursors)}
    assert rows == LISTS
    assert shop.parts.sweep._lengths["refunds"] == WALK_MAX / 2


async def test_a_warning_that_no_event_told_of(shop: Shop):
    payment = await shop.bought(25)
    shop.fake.warn(payment.intent_id)
    await swept(shop)
    [customer] = await shop.rows(tables.payment_customers)
    assert customer["held_at"]
    assert payment.id in customer["held_reason"]


@pytest.mark.postgresql
async def test_what_moved_stripes_balance_is_in_our_books_or_told(shop: Shop, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(metrics, "count_unknown_transaction", told.append)
    shop.fake.books_late = True
    payment = await shop.bought(25)
    await shop.bought(10)
    shop.fake.post_balances()  # and no event tells of it
    foreign = next(shop.fake.all("payment_intent"))
    odd = next(shop.fake.all("balance_transaction", source=foreign["latest_charge"]))
    async with shop.database.write() as connection:
        await connection.execute(
            update(tables.payments).where(tables.payments.c.id != payment.id).values(intent_id="pi")
        )
    await swept(shop)
    assert told == []  # too new: it may still be entered
    for moved in shop.fake.all("balance_transaction"):
        moved["created"] -= 2 * 3600
    async with shop.database.write() as connection:
        await connection.execute(
            update(tables.stripe_cursors).values(read_until=datetime.now(UTC) - timedelta(hours=3))
        )
    await swept(shop)
    assert told == [odd["type"]]
    [booked] = await shop.rows(tables.stripe_transactions)
    assert booked["payment_id"] == payment.id
    await swept(shop)
    assert len(told) == 1  # once
