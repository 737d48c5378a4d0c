"""Payments that no event told of are found in Stripe's lists."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import update

from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.ledger.postings import database_now
from testing.buying import Shop

LISTS = {"intents", "sessions", "refunds", "disputes"}


async def swept(shop: Shop) -> int:
    """Walk all lists as if they were due, and reconcile what was found."""
    async with shop.database.write() as connection:
        now = await database_now(connection)
        await connection.execute(update(tables.stripe_cursors).values(due_at=now))
    found = await shop.parts.sweep.run()
    await shop.reconciler.run()
    return found


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
        assert now - row["read_until"] < timedelta(minutes=5)
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
    assert (await shop.now(attempt)).state == "paid"
    assert await shop.available_cents() == 1000
