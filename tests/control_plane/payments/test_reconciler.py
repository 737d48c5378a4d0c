"""Reconciliation: desired minus posted, whatever fails, whoever is slow, however often."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gateway.control_plane.payments import facts, payments
from gateway.control_plane.payments.payments import NoSuchPayment, Payment
from gateway.control_plane.payments.stripe_failures import StripeBusy, StripeDown, StripeRefused
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.ledger import postings
from gateway.storage.ledger.postings import database_now
from testing.buying import Shop, opened_shop

pytestmark = pytest.mark.sqlite


async def test_again_and_again_changes_nothing(shop: Shop):
    payment = await shop.bought(25)
    for _ in range(3):
        again = await shop.reconciler.reconcile(payment.id)
        assert (again.postings, again.posted_nanos) == (1, payment.credit_nanos)
    assert await shop.available_cents() == 2500
    await shop.assert_sound()


async def test_an_unpaid_one_is_pending_and_brings_nothing(shop: Shop):
    payment = await shop.start(25)
    assert (await shop.reconciler.reconcile(payment.id)).state == "open"
    assert await shop.available_cents() == 0


async def test_a_slow_payment_is_credited_when_it_arrives(shop: Shop):
    payment = await shop.bought(25, "bank_debit")
    assert (payment.state, payment.posted_nanos) == ("processing", 0)
    shop.fake.settle_async(payment.intent_id)
    assert (await shop.reconciler.reconcile(payment.id)).state == "paid"
    assert await shop.available_cents() == 2500
    await shop.assert_sound()


async def test_a_slow_payment_that_fails_brings_nothing(shop: Shop):
    payment = await shop.bought(25, "bank_debit")
    shop.fake.settle_async(payment.intent_id, succeeds=False)
    payment = await shop.reconciler.reconcile(payment.id)
    assert (payment.state, payment.posted_nanos) == ("failed", 0)
    assert payment.failure_code
    await shop.assert_sound()


async def test_a_page_that_expires(shop: Shop):
    payment = await shop.start(25)
    shop.fake.advance(3700)
    payment = await shop.reconciler.reconcile(payment.id)
    assert (payment.state, payment.due_at) == ("expired", None)


@pytest.mark.postgresql
async def test_refunds_take_back_in_parts_and_a_failed_one_returns(shop: Shop):
    payment = await shop.bought(25)
    part = shop.fake.refund(payment.intent_id, 1000)
    payment = await shop.reconciler.reconcile(payment.id)
    assert await shop.available_cents() == 1500
    shop.fake.refund(payment.intent_id)
    payment = await shop.reconciler.reconcile(payment.id)
    assert (await shop.available_cents(), payment.posted_nanos) == (0, 0)
    assert len(await shop.rows(tables.payment_refunds)) == 2
    await shop.assert_sound()
    shop.fake.settle_refund(part["id"], "failed")
    payment = await shop.reconciler.reconcile(payment.id)
    assert await shop.available_cents() == 1000
    assert payment.postings == 4
    await shop.assert_sound()


async def test_spent_credit_that_goes_back_is_owed_and_the_next_payment_pays_it(shop: Shop):
    payment = await shop.bought(25)
    await spend(shop, 2000)
    shop.fake.refund(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    assert (await shop.balance()).owed_nanos == 2000 * payments.CENT_NANOS
    assert await shop.causes() == ["owing"]
    await shop.bought(50)
    assert await shop.causes() == []
    assert await shop.available_cents() == 3000
    await shop.assert_sound()


async def test_a_dispute_freezes_until_it_is_decided(shop: Shop):
    payment = await shop.bought(25)
    dispute = shop.fake.dispute(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == ["dispute"]
    assert await shop.available_cents() == 0
    shop.fake.move_dispute(dispute["id"], "under_review")
    await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == ["dispute"]
    shop.fake.close_dispute(dispute["id"], "won")
    payment = await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == []
    assert await shop.available_cents() == 2500
    [row] = await shop.rows(tables.payment_disputes)
    assert (row["status"], row["amount_cents"]) == ("won", 2500)
    await shop.assert_sound()


@pytest.mark.postgresql
async def test_a_lost_dispute_is_no_freeze_but_a_debt(shop: Shop):
    payment = await shop.bought(25)
    await spend(shop, 2500)
    dispute = shop.fake.dispute(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == ["dispute", "owing"]
    shop.fake.close_dispute(dispute["id"], "lost")
    await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == ["owing"]
    await shop.assert_sound()


async def test_the_dispute_of_another_payment_still_freezes(shop: Shop):
    one, other = await shop.bought(25), await shop.bought(10)
    first, _ = shop.fake.dispute(one.intent_id), shop.fake.dispute(other.intent_id)
    for payment in (one, other):
        await shop.reconciler.reconcile(payment.id)
    shop.fake.close_dispute(first["id"], "won")
    await shop.reconciler.reconcile(one.id)
    assert await shop.causes() == ["dispute"]


@pytest.mark.postgresql
async def test_an_inquiry_moves_nothing(shop: Shop):
    payment = await shop.bought(25)
    shop.fake.dispute(payment.intent_id, "warning_needs_response")
    await shop.reconciler.reconcile(payment.id)
    assert await shop.causes() == []
    assert await shop.available_cents() == 2500
    assert len(await shop.rows(tables.payment_disputes)) == 1


FAULTS = [
    ("refused", StripeDown),
    ("lost", StripeDown),
    ("error_before", StripeDown),
    ("error_after", StripeDown),
    ("busy", StripeBusy),
]


@pytest.mark.parametrize(
    "operation", ["checkout.sessions.retrieve", "payment_intents.retrieve", "refunds.list"]
)
async def test_a_reading_that_fails_writes_nothing_and_is_repeated(shop: Shop, operation: str):
    payment = await shop.buy(25)
    for fault, error in FAULTS:
        shop.fake.faults.add(fault, operation)
        with pytest.raises(error):
            await shop.reconciler.reconcile(payment.id)
        row = await shop.now(payment)
        assert (row.state, row.posted_nanos, row.postings) == ("open", 0, 0)
        assert row.due_at is not None  # another turn takes it
    await shop.make_due()
    assert await shop.reconciler.run() == 1
    assert await shop.available_cents() == 2500
    await shop.assert_sound()


@pytest.mark.parametrize(("fault", "calls_max"), [("refused", 4), ("error_before", 7)])
async def test_while_stripe_is_away_a_run_stops(shop: Shop, fault: str, calls_max: int):
    for _ in range(10):
        await shop.buy(10)
    await shop.make_due()
    shop.fake.calls.clear()
    shop.fake.faults.add(fault, "*", times=100)
    assert await shop.reconciler.run() == 0
    assert shop.reconciler.is_held_up
    assert len(shop.fake.calls) <= calls_max
    shop.fake.faults.clear()
    await shop.make_due()
    assert await shop.reconciler.run() == 10
    assert await shop.available_cents() == 10_000


async def test_a_payment_that_stripe_does_not_have_needs_a_person(shop: Shop):
    payment = await shop.start(25)
    del shop.fake.by_kind["checkout.session"][payment.session_id]
    payment = await shop.reconciler.reconcile(payment.id)
    assert payment.attention.startswith("Stripe does not show it")
    assert payment.due_at is not None


@pytest.mark.postgresql
async def test_two_processes_at_once_post_once(database, fake, shop: Shop):
    started = [await shop.buy(10) for _ in range(5)]
    async with opened_shop(database, fake) as other:
        for _ in range(3):
            await shop.make_due()
            await asyncio.gather(
                *(one.reconciler.run() for one in (shop, other, shop, other)),
                *(other.reconciler.reconcile(payment.id) for payment in started),
            )
    assert await shop.available_cents() == 5000
    assert [row["postings"] for row in await shop.rows(tables.payments)] == [1] * 5
    await shop.assert_sound()


async def test_what_was_read_before_something_was_heard_is_never_written(shop: Shop, monkeypatch):
    payment = await shop.bought(25)
    read = facts.read

    async def slow(api: Any, row: Payment) -> Any:
        found = await read(api, row)
        shop.fake.refund(payment.intent_id)  # and we hear of it, before the answer is written
        async with shop.database.write() as connection:
            await payments.make_due(connection, payment.id, await database_now(connection))
        monkeypatch.setattr(facts, "read", read)
        return found

    monkeypatch.setattr(facts, "read", slow)
    before = await shop.now(payment)
    after = await shop.reconciler.reconcile(payment.id)
    assert (after.reconciled_at, after.posted_nanos) == (before.reconciled_at, before.posted_nanos)
    assert await shop.reconciler.run() == 1  # it is due at once
    assert await shop.available_cents() == 0
    await shop.assert_sound()


@pytest.mark.postgresql
async def test_an_older_answer_never_overwrites_a_newer_one(shop: Shop, monkeypatch):
    payment = await shop.buy(25)
    read, go_on = facts.read, asyncio.Event()
    has_read = asyncio.Event()

    async def slow(api: Any, row: Payment) -> Any:
        monkeypatch.setattr(facts, "read", read)
        found = await read(api, row)
        has_read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(facts, "read", slow)
    late = asyncio.create_task(shop.reconciler.reconcile(payment.id))
    await has_read.wait()  # paid in full, it says
    intent = shop.fake.get("checkout.session", payment.session_id)["payment_intent"]
    shop.fake.refund(intent)
    newer = await shop.reconciler.reconcile(payment.id)
    assert (newer.state, newer.posted_nanos) == ("paid", 0)
    go_on.set()
    assert (await late).posted_nanos == 0
    assert await shop.available_cents() == 0
    await shop.assert_sound()


async def test_a_process_that_dies_leaves_the_payment_to_others(shop: Shop, monkeypatch):
    payment = await shop.buy(25)

    async def dies(*_args: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(facts, "read", dies)
        with pytest.raises(asyncio.CancelledError):
            await shop.reconciler.reconcile(payment.id)
    assert await shop.reconciler.run() == 0  # claimed, for a minute
    await shop.make_due()
    assert await shop.reconciler.run() == 1
    assert await shop.available_cents() == 2500


async def test_when_a_payment_is_read_again(shop: Shop):
    async def minutes(payment: Payment) -> int | None:
        row = await shop.reconciler.reconcile(payment.id)
        assert row.reconciled_at
        return round((row.due_at - row.reconciled_at).total_seconds() / 60) if row.due_at else None

    payment = await shop.start(10)
    assert await minutes(payment) == 10
    await age(shop, payment, 4)
    assert await minutes(payment) == 24 * 60
    shop.fake.pay(payment.session_id)
    assert await minutes(payment) == 24 * 60
    await age(shop, payment, 121)
    assert await minutes(payment) is None


@pytest.mark.parametrize("status", ["needs_response", "warning_needs_response"])
async def test_an_old_payment_is_read_as_long_as_a_bank_has_to_decide(shop: Shop, status: str):
    payment = await shop.bought(25)
    dispute = shop.fake.dispute(payment.intent_id, status)
    await age(shop, payment, 121)
    assert (await shop.reconciler.reconcile(payment.id)).due_at
    end = "warning_closed" if status.startswith("warning") else "won"
    shop.fake.move_dispute(dispute["id"], end)  # and no event tells of it
    await shop.make_due()
    await shop.reconciler.run()
    row = await shop.now(payment)
    assert (row.due_at, row.posted_nanos) == (None, row.credit_nanos)
    assert await shop.causes() == []


async def test_an_old_payment_is_read_as_long_as_a_refund_may_fail(shop: Shop):
    payment = await shop.bought(25)
    shop.fake.refund(payment.intent_id, 1000)
    await age(shop, payment, 121)
    assert (await shop.reconciler.reconcile(payment.id)).due_at
    [refund] = shop.fake.all("refund")
    refund["created"] -= 31 * 24 * 3600
    assert (await shop.reconciler.reconcile(payment.id)).due_at is None


async def test_one_that_is_not_in_stripes_balance_yet_is_read_again_soon(shop: Shop):
    shop.fake.books_late = True
    payment = await shop.bought(25)
    assert payment.due_at
    assert payment.reconciled_at
    assert payment.due_at - payment.reconciled_at < timedelta(seconds=90)
    await shop.assert_sound()
    shop.fake.post_balances()
    payment = await shop.reconciler.reconcile(payment.id)
    assert payment.due_at
    assert payment.reconciled_at
    assert payment.due_at - payment.reconciled_at > timedelta(minutes=5)


async def test_a_card_that_stripe_refuses_to_show_is_given_up(shop: Shop, monkeypatch):
    asked = 0

    async def refuses(_: str) -> None:
        nonlocal asked
        asked += 1
        raise StripeRefused("no such customer")

    monkeypatch.setattr(shop.reconciler, "_saved", refuses)
    payment = await shop.bought(25, save_card=True)
    assert asked == 1
    assert payment.due_at
    assert payment.reconciled_at
    assert payment.due_at - payment.reconciled_at > timedelta(minutes=5)


async def test_what_is_not_there(shop: Shop):
    for name in (new_id(), "no-id"):
        with pytest.raises(NoSuchPayment):
            await shop.reconciler.reconcile(name)


async def test_the_first_credit_is_told_once(shop: Shop):
    payment = await shop.bought(25)
    await shop.reconciler.reconcile(payment.id)
    [notice] = await shop.rows(tables.notices)
    assert (notice["type"], notice["ref"]) == ("payment.credited", f"payment:{payment.id}")


async def age(shop: Shop, payment: Payment, days: int) -> None:
    """Let a payment be so old."""
    async with shop.database.write() as connection:
        then = await database_now(connection) - timedelta(days=days)
        await payments.change(connection, payment.id, {"created_at": then})


async def spend(shop: Shop, cents: int) -> None:
    """Use up credit, as expired leases would post it."""
    amount = cents * payments.CENT_NANOS
    async with shop.database.write() as connection:
        await postings.lock_account(connection, shop.organization_id)
        at = await database_now(connection)
        await postings.debit(connection, shop.organization_id, amount, new_id(), at)
