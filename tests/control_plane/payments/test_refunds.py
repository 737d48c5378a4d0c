"""Refunds that we start: bounded, made once whatever is lost, and taken from the credit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from gateway.control_plane.payments.payments import NoSuchPayment, Payment
from gateway.control_plane.payments.refunds import (
    GIVEN_UP_AFTER,
    LEASE,
    SENT_FOR,
    CannotRefund,
    Refunds,
)
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from testing.ledger import assert_sound
from testing.stripe import fake_stripe
from testing.top_ups import TopUps, top_ups

pytestmark = pytest.mark.sqlite


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
async def shop(database: Database, fake: FakeStripe) -> AsyncIterator[TopUps]:
    """An organization that has bought $25."""
    async with top_ups(database, fake) as opened:
        await opened.attempts.run()
        yield opened


async def test_a_part_and_then_the_rest_go_back_with_their_credit(shop: TopUps):
    payment = await bought(shop)
    first = await shop.refunds.refund(payment.id, 1_000, "half happy")
    assert (first.state, first.amount_cents) == ("succeeded", 1_000)
    assert await shop.available_cents() == 1_500
    rest = await shop.refunds.refund(payment.id, None, "unhappy")
    assert rest.amount_cents == 1_500
    assert await shop.available_cents() == 0
    assert refunded(shop) == 2_500
    with pytest.raises(CannotRefund):
        await shop.refunds.refund(payment.id, None, "again")
    await assert_sound(shop.database)


@pytest.mark.parametrize("amount", [0, -1, 2_501])
async def test_more_or_less_than_there_is_is_refused(shop: TopUps, amount: int):
    payment = await bought(shop)
    with pytest.raises(CannotRefund) as refused:
        await shop.refunds.refund(payment.id, amount, "why not")
    assert "$25.00 of this payment can be refunded" in str(refused.value)
    assert refunded(shop) == 0
    assert await rows(shop) == []


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
async def test_a_refund_needs_a_reason(shop: TopUps, reason: str):
    payment = await bought(shop)
    with pytest.raises(CannotRefund):
        await shop.refunds.refund(payment.id, None, reason)


async def test_what_does_not_exist_or_brought_nothing_is_not_refunded(
    database: Database, fake: FakeStripe
):
    async with top_ups(database, fake, card="refused_later") as shop:
        await shop.attempts.run()
        (failed,) = await shop.payments()
        with pytest.raises(CannotRefund):
            await shop.refunds.refund(failed.id, None, "nothing")
        with pytest.raises(NoSuchPayment):
            await shop.refunds.refund(new_id(), None, "nobody")


async def test_a_disputed_payment_is_not_refunded_too(shop: TopUps):
    payment = await bought(shop)
    assert payment.intent_id is not None
    shop.fake.dispute(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    with pytest.raises(CannotRefund, match="disputed"):
        await shop.refunds.refund(payment.id, None, "twice")


@pytest.mark.parametrize(
    "fault", ["lost", "error_after", "error_kept", "error_before", "refused", "busy"]
)
async def test_a_lost_answer_pays_back_once(shop: TopUps, fault: str):
    payment = await bought(shop)
    shop.fake.faults.add(fault, "refunds.create")
    made = await shop.refunds.refund(payment.id, 1_000, "lost")
    assert made.state == "started"
    with pytest.raises(CannotRefund):  # what is on its way counts
        await shop.refunds.refund(payment.id, 1_501, "more")
    hours = 0.1 if fault != "error_kept" else 20
    shop.wait(hours=hours)
    await shop.refunds.run()
    assert refunded(shop) == 1_000
    assert await shop.available_cents() == 1_500
    ((state, refund_id),) = await rows(shop)
    assert state == "succeeded"
    assert refund_id is not None
    await assert_sound(shop.database)


@pytest.mark.parametrize("amount", [1_000, None])
@pytest.mark.parametrize("fault", ["lost", "error_after", "refused"])
async def test_who_repeats_a_refund_without_an_answer_pays_back_once(
    shop: TopUps, fault: str, amount: int | None
):
    payment = await bought(shop)
    shop.fake.faults.add(fault, "refunds.create")
    first = await shop.refunds.refund(payment.id, amount, "goodwill")
    assert first.state == "started"
    again = await shop.refunds.refund(payment.id, amount, "goodwill")
    assert (again.id, again.state) == (first.id, "succeeded")
    # the answer was lost between us and the operator
    last = await shop.refunds.refund(payment.id, amount, "goodwill ")
    assert (last.id, last.state, last.is_repeated) == (first.id, "succeeded", True)
    shop.wait(minutes=5)
    await shop.refunds.run()
    assert refunded(shop) == (amount or 2_500)
    assert len(await rows(shop)) == 1


async def test_another_amount_waits_for_an_outcome_and_another_reason_refunds_again(shop: TopUps):
    payment = await bought(shop)
    shop.fake.faults.add("refused", "refunds.create")
    first = await shop.refunds.refund(payment.id, 1_000, "goodwill")
    with pytest.raises(CannotRefund, match=first.id):
        await shop.refunds.refund(payment.id, 500, "more goodwill")
    with pytest.raises(CannotRefund, match=first.id):
        await shop.refunds.refund(payment.id, None, "all")
    assert (await shop.refunds.refund(payment.id, 1_000, "other words")).id == first.id
    second = await shop.refunds.refund(payment.id, 1_000, "other words")
    assert second.id != first.id
    assert refunded(shop) == 2_000


async def test_a_refund_that_failed_can_be_made_again(shop: TopUps):
    payment = await bought(shop)
    made = await shop.refunds.refund(payment.id, 1_000, "closed account")
    assert made.refund_id is not None
    shop.fake.settle_refund(made.refund_id, "failed")
    await shop.reconciler.reconcile(payment.id)
    again = await shop.refunds.refund(payment.id, 1_000, "closed account")
    assert (again.state, again.is_repeated) == ("succeeded", False)
    assert again.id != made.id


@pytest.mark.postgresql
@pytest.mark.parametrize("when", ["before", "after", "reconcile"])
async def test_a_process_that_dies_anywhere_pays_back_once(
    shop: TopUps, monkeypatch: pytest.MonkeyPatch, when: str
):
    payment = await bought(shop)
    create = StripeApi.create_refund

    async def die(*arguments, **options):
        if when == "after":
            await create(*arguments, **options)
        raise Crash

    if when == "reconcile":
        monkeypatch.setattr(shop.reconciler, "reconcile", die)
    else:
        monkeypatch.setattr(StripeApi, "create_refund", die)
    with pytest.raises(Crash):
        await shop.refunds.refund(payment.id, 1_000, "dies")
    monkeypatch.undo()
    shop.wait(seconds=LEASE.total_seconds())
    await asyncio.gather(another(shop).run(), another(shop).run())
    await shop.reconciler.run()
    assert refunded(shop) == 1_000
    assert await shop.available_cents() == 1_500
    await assert_sound(shop.database)


@pytest.mark.postgresql
async def test_what_stays_unknown_is_looked_for_before_it_fails(shop: TopUps):
    payment = await bought(shop)
    shop.fake.faults.add("error_before", "refunds.create", times=1_000)
    await shop.refunds.refund(payment.id, 1_000, "down")
    shop.wait(seconds=SENT_FOR.total_seconds())
    asked = calls(shop)
    await shop.refunds.run()
    assert calls(shop) == asked
    assert await rows(shop) == [("started", None)]
    shop.wait(seconds=(GIVEN_UP_AFTER - SENT_FOR + timedelta(minutes=5)).total_seconds())
    await shop.refunds.run()
    assert await rows(shop) == [("failed", None)]
    assert refunded(shop) == 0


async def test_a_refusal_is_told(shop: TopUps):
    """Someone refunded it in the dashboard, and no event has come."""
    payment = await bought(shop)
    assert payment.intent_id is not None
    shop.fake.refund(payment.intent_id)
    made = await shop.refunds.refund(payment.id, 1_000, "late")
    assert made.state == "failed"
    assert made.problem
    assert refunded(shop) == 2_500


async def test_a_refund_that_the_bank_returns_gives_the_credit_back(shop: TopUps):
    payment = await bought(shop)
    made = await shop.refunds.refund(payment.id, 1_000, "closed account")
    assert made.refund_id is not None
    shop.fake.settle_refund(made.refund_id, "failed")
    await shop.reconciler.reconcile(payment.id)
    assert await shop.available_cents() == 2_500
    assert [state for state, _ in await rows(shop)] == ["failed"]
    await assert_sound(shop.database)


async def bought(shop: TopUps) -> Payment:
    (payment,) = await shop.payments()
    assert payment.state == "paid"
    return payment


async def rows(shop: TopUps) -> list[tuple[str, str | None]]:
    table = tables.payment_refunds.c
    query = select(table.state, table.refund_id)
    async with shop.database.read() as connection:
        return [tuple(row) for row in await connection.execute(query)]


def another(shop: TopUps) -> Refunds:
    return Refunds(shop.database, shop.api, shop.reconciler, clock=shop.clock)


def refunded(shop: TopUps) -> int:
    """Return how many cents Stripe gave back."""
    return sum(one["amount"] for one in shop.fake.all("refund") if one["status"] == "succeeded")


def calls(shop: TopUps) -> int:
    return sum(call[0] == "refunds.create" for call in shop.fake.calls)
