"""Payments that Stripe no longer shows are given up by operators, and odd ones are seen."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway.control_plane.payments import attention, payments
from gateway.control_plane.payments.abandonment import ABANDONED, abandon
from gateway.control_plane.payments.payments import NoSuchPayment
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.ledger.postings import database_now
from testing.buying import Shop, opened_shop

pytestmark = pytest.mark.sqlite


@pytest.mark.postgresql
async def test_an_unfinished_one_ends(shop: Shop):
    payment = await shop.start(25)
    del shop.fake.by_kind["checkout.session"][payment.session_id]
    await shop.reconciler.reconcile(payment.id)
    async with shop.database.write() as connection:
        ended = await abandon(connection, payment.id, "lost at Stripe")
    assert (ended.state, ended.due_at, ended.attention) == ("canceled", None, "")
    assert (ended.failure_code, ended.failure_reason) == (ABANDONED, "lost at Stripe")


@pytest.mark.postgresql
async def test_its_dispute_freezes_nobody(shop: Shop):
    payment = await shop.bought(25)
    shop.fake.dispute(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == ["dispute"]
    async with shop.database.write() as connection:
        given_up = await abandon(connection, payment.id, "the account at Stripe was closed")
    assert (given_up.state, given_up.due_at) == ("paid", None)
    assert await shop.causes() == []


async def test_what_is_not_there(shop: Shop):
    async with shop.database.write() as connection:
        for name in (new_id(), "no-id"):
            with pytest.raises(NoSuchPayment):
                await abandon(connection, name, "")
            with pytest.raises(NoSuchPayment):
                await attention.seen(connection, name)


@pytest.mark.postgresql
async def test_what_was_seen_is_not_asked_for_again(shop: Shop):
    payment = await shop.bought(25)
    shop.fake.refund(payment.intent_id, 2000)
    dispute = shop.fake.dispute(payment.intent_id, amount=2000)
    odd = await shop.reconciler.reconcile(payment.id)
    assert odd.attention
    async with shop.database.write() as connection:
        assert await attention.seen(connection, payment.id) == odd.attention
        assert (await attention.needed(connection)).payments == []
    assert (await shop.reconciler.reconcile(payment.id)).attention == ""
    shop.fake.get("dispute", dispute["id"])["amount"] = 2100
    again = await shop.reconciler.reconcile(payment.id)
    assert again.attention not in ("", odd.attention)
    async with shop.database.read() as connection:
        [listed] = (await attention.needed(connection)).payments
    assert (listed.payment_id, listed.attention) == (payment.id, again.attention)


@pytest.mark.postgresql
async def test_one_of_another_mode_is_left_alone(database, fake, shop: Shop):
    payment = await shop.buy(25)
    async with shop.database.write() as connection:
        await connection.execute(update(tables.payments).values(live=True))
    await shop.make_due()
    shop.fake.calls.clear()
    assert await shop.reconciler.run() == 0
    assert (await shop.reconciler.reconcile(payment.id)).state == "open"
    assert len(shop.fake.calls) == 0
    async with opened_shop(database, fake, stripe_live=True) as live:
        assert await live.reconciler.run() == 1


@pytest.mark.postgresql
async def test_one_that_stripe_does_not_show_is_not_asked_for_forever(shop: Shop):
    payment = await shop.start(25)
    del shop.fake.by_kind["checkout.session"][payment.session_id]
    assert (await shop.reconciler.reconcile(payment.id)).due_at
    async with shop.database.write() as connection:
        then = await database_now(connection) - timedelta(days=121)
        await payments.change(connection, payment.id, {"created_at": then})
    assert (await shop.reconciler.reconcile(payment.id)).due_at is None
