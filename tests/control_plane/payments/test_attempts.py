"""Auto top-ups at a Stripe that fails: a card is charged once, a declining one is left alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import insert, literal, select, update

from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.payments.attempts import GIVEN_UP_AFTER, LEASE, SENT_FOR, Attempts
from gateway.control_plane.payments.auto_top_up import BACK_OFF, DECLINES_MAX
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeDown
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage import tables
from gateway.storage.database import Database
from testing.ledger import assert_sound
from testing.stripe import fake_stripe
from testing.top_ups import RULES, TopUps, top_ups

pytestmark = pytest.mark.sqlite

MINUTE = timedelta(minutes=1)


class Crash(BaseException):
    """The process ends here."""


class Unreachable:
    """A reconciler that would not mend what was written wrongly."""

    async def reconcile(self, _payment_id: str) -> object:
        raise StripeDown("unreachable")


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
async def shop(database: Database, fake: FakeStripe) -> AsyncIterator[TopUps]:
    """An organization without credit, with a good card."""
    async with top_ups(database, fake) as opened:
        yield opened


@pytest.mark.parametrize("state", ["open", "processing", "paid", "failed", "canceled"])
async def test_one_that_has_an_outcome_is_not_carried_out_again(shop: TopUps, state: str):
    await shop.attempts.run()
    async with shop.database.write() as connection:
        await connection.execute(update(tables.payments).values(state=state, due_at=shop.now))
    (payment,) = await shop.payments()
    shop.fake.calls.clear()
    await shop.attempts.run()
    assert await shop.payments() == [payment]
    assert not shop.fake.calls


async def test_credit_below_the_threshold_is_topped_up_once(shop: TopUps):
    for _ in range(3):
        await shop.attempts.run()
        shop.wait(minutes=2)
    (payment,) = await shop.payments()
    assert (payment.origin, payment.state, payment.credit_nanos) == ("auto", "paid", 25 * 10**9)
    assert payment.intent_id is not None
    assert await shop.available_cents() == 2_500
    assert shop.charges() == 2_500
    assert await shop.mails() == []
    (intent,) = shop.fake.all("payment_intent")
    assert intent["receipt_email"] == "ada@example.org"
    assert payment.receipt_url
    await assert_sound(shop.database)


@pytest.mark.postgresql
async def test_tax_is_in_the_row_before_the_card_is_charged(
    database: Database, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch
):
    async with top_ups(database, fake, tax=True) as shop:
        monkeypatch.setattr(StripeApi, "create_intent", die)
        with pytest.raises(Crash):
            await shop.attempts.run()
        (payment,) = await shop.payments()
        assert (payment.state, payment.tax_cents) == ("started", 475)
        assert payment.tax_calculation_id is not None
        monkeypatch.undo()
        shop.wait(seconds=LEASE.total_seconds())
        await shop.attempts.run()
        (payment,) = await shop.payments()
        assert (payment.state, payment.received_cents) == ("paid", 2_975)
        assert await shop.available_cents() == 2_500
        assert len(list(fake.all("tax.calculation"))) == 1
        await assert_sound(database)


@pytest.mark.parametrize(
    "fault", ["lost", "error_after", "error_kept", "error_before", "refused", "busy"]
)
async def test_a_lost_answer_charges_once(shop: TopUps, fault: str):
    shop.fake.faults.add(fault, "payment_intents.create", times=3)
    await shop.run_for(hours=1, every=timedelta(minutes=5))
    assert shop.charges() == 2_500
    assert shop.tries() == 1
    assert await shop.available_cents() == 2_500
    (payment,) = await shop.payments()
    assert payment.state == "paid"


@pytest.mark.parametrize(
    "fault", ["lost", "error_after", "error_kept", "error_before", "refused", "busy"]
)
async def test_a_decline_whose_answer_was_lost_is_one_decline(
    database: Database, fake: FakeStripe, fault: str
):
    async with top_ups(database, fake, card="refused_later") as shop:
        fake.faults.add(fault, "payment_intents.create")
        await shop.run_for(minutes=30, every=timedelta(minutes=3))
        assert shop.tries() == 1
        assert (await shop.settings()).declines == 1
        assert len(await shop.mails()) == 1


@pytest.mark.parametrize("step", ["tax", "intent", "answer", "hand_over", "reconcile"])
async def test_a_process_that_dies_anywhere_charges_and_credits_once(
    database: Database, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch, step: str
):
    """Between the row and Stripe, between Stripe and the row, and before reconciliation."""
    async with top_ups(database, fake, tax=True) as shop:
        match step:
            case "tax":
                monkeypatch.setattr(StripeApi, "create_tax_calculation", die)
            case "intent":
                monkeypatch.setattr(StripeApi, "create_intent", die)
            case "answer":
                monkeypatch.setattr(StripeApi, "create_intent", then_die(StripeApi.create_intent))
            case "hand_over":
                monkeypatch.setattr(Attempts, "_hand_over", die)
            case "reconcile":
                monkeypatch.setattr(shop.reconciler, "reconcile", die)
        with pytest.raises(Crash):
            await shop.attempts.run()
        monkeypatch.undo()
        shop.wait(seconds=LEASE.total_seconds())
        await shop.another().run()
        await shop.reconciler.run()
        (payment,) = await shop.payments()
        assert payment.state == "paid"
        assert shop.charges() == 2_975
        assert await shop.available_cents() == 2_500
        await assert_sound(database)


@pytest.mark.postgresql
async def test_two_processes_start_one_attempt_and_charge_once(shop: TopUps):
    others = [Database(shop.database.url) for _ in range(3)]
    starts = [type(shop.starts)(other, live=False, day_max=8) for other in others]
    started = await asyncio.gather(*(start.run(shop.now) for start in starts))
    assert sum(started) == 1
    await asyncio.gather(*(shop.another().run() for _ in range(3)))
    assert len(await shop.payments()) == 1
    assert shop.charges() == 2_500
    assert await shop.available_cents() == 2_500
    for other in others:
        await other.close()


@pytest.mark.postgresql
async def test_a_process_that_wakes_late_writes_nothing(
    shop: TopUps, monkeypatch: pytest.MonkeyPatch
):
    """Its claim is over, and another process has finished the attempt."""
    held, go_on = asyncio.Event(), asyncio.Event()
    create = StripeApi.create_intent

    async def slow(self, *arguments, **options):
        held.set()
        await go_on.wait()
        return await create(self, *arguments, **options)

    monkeypatch.setattr(StripeApi, "create_intent", slow)
    late = asyncio.create_task(shop.another(Unreachable()).run())
    await held.wait()
    monkeypatch.undo()
    shop.wait(seconds=LEASE.total_seconds())
    await shop.another().run()
    (before,) = await shop.payments()
    go_on.set()
    await late
    (payment,) = await shop.payments()
    assert before.state == payment.state == "paid"
    assert shop.charges() == 2_500
    assert await shop.available_cents() == 2_500


async def test_a_declining_card_is_tried_three_times_in_hours_and_in_a_month(
    database: Database, fake: FakeStripe
):
    """One product made 486 failed charges in 4.5 hours, another 670 invoices in days."""
    async with top_ups(database, fake, card="refused_later") as shop:
        await shop.run_for(hours=4.5, every=timedelta(minutes=10))
        assert shop.tries() == DECLINES_MAX
        await shop.run_for(days=31, every=timedelta(hours=12))
        assert shop.tries() == DECLINES_MAX
        settings = await shop.settings()
        assert (settings.paused, settings.declines, settings.enabled) == ("declined", 3, True)
        assert [payment.state for payment in await shop.payments()] == ["failed"] * 3
        assert [told["reason"] for told in await shop.told()] == ["declined", "declined", "stopped"]
        assert len(await shop.mails()) == DECLINES_MAX
        assert len(list(fake.all("payment_intent"))) == DECLINES_MAX


async def test_a_declined_card_rests_for_an_hour(database: Database, fake: FakeStripe):
    async with top_ups(database, fake, card="insufficient_funds") as shop:
        await shop.run_for(minutes=59, every=timedelta(minutes=5))
        assert shop.tries() == 1
        (mail,) = await shop.mails()
        assert "the Visa card ending in" in mail.text
        assert "because there is not enough money" in mail.text
        assert "https://g.example/console/billing" in mail.text
        shop.wait(minutes=2)
        await shop.attempts.run()
        assert shop.tries() == 2


async def test_another_card_closes_the_breaker_and_the_same_one_does_not(
    database: Database, fake: FakeStripe
):
    async with top_ups(database, fake, card="refused_later") as shop:
        await shop.run_for(hours=5, every=timedelta(minutes=20))
        await shop.save_card("refused_later")
        await shop.run_for(hours=5, every=timedelta(minutes=20))
        assert shop.tries() == DECLINES_MAX
        await shop.save_card("good")
        await shop.attempts.run()
        assert shop.charges() == 2_500
        assert (await shop.settings()).paused == ""


async def test_a_bank_that_asks_pauses_and_one_mail_says_where_to_pay(
    database: Database, fake: FakeStripe
):
    async with top_ups(database, fake, card="authentication_required") as shop:
        await shop.run_for(hours=5, every=timedelta(minutes=20))
        assert shop.tries() == 1
        assert (await shop.settings()).paused == "authentication"
        (mail,) = await shop.mails()
        assert mail.subject == "Your bank asks you to confirm a payment"
        assert "https://g.example/console/billing" in mail.text
        assert mail.recipient == "ada@example.org"


async def test_what_stays_unknown_is_looked_for_before_it_may_fail(shop: TopUps):
    """Stripe forgets a key after a day, so nothing is sent again by then."""
    shop.fake.faults.add("refused", "payment_intents.create", times=100_000)
    await shop.run_for(hours=SENT_FOR.total_seconds() / 3600, every=timedelta(minutes=30))
    sent = sum(call[0] == "payment_intents.create" for call in shop.fake.calls)
    (payment,) = await shop.payments()
    assert payment.state == "started"
    shop.fake.faults.clear()
    left = GIVEN_UP_AFTER - SENT_FOR + MINUTE
    await shop.run_for(seconds=left.total_seconds(), every=timedelta(minutes=30))
    (payment,) = await shop.payments()
    assert (payment.state, payment.failure_code) == ("failed", "not_charged")
    assert sum(call[0] == "payment_intents.create" for call in shop.fake.calls) == sent
    assert (await shop.settings()).declines == 0
    (mail,) = await shop.mails()
    assert "the payment could not be made. Nothing was charged" in mail.text
    shop.wait(hours=2)
    await shop.attempts.run()
    assert shop.charges() == 2_500


async def test_what_was_charged_and_never_answered_is_found_by_its_metadata(shop: TopUps):
    shop.fake.faults.add("lost", "payment_intents.create", times=100_000)
    await shop.run_for(hours=SENT_FOR.total_seconds() / 3600, every=timedelta(minutes=30))
    assert await shop.available_cents() == 0
    await shop.attempts.run()
    assert shop.charges() == 2_500
    assert await shop.available_cents() == 2_500
    (payment,) = await shop.payments()
    assert payment.state == "paid"


async def test_parameters_that_a_key_was_not_first_used_with_charge_nothing_more(
    shop: TopUps, monkeypatch: pytest.MonkeyPatch
):
    """A new release asks otherwise, under the key of the old one."""
    shop.fake.faults.add("lost", "payment_intents.create")
    await shop.attempts.run()
    create = StripeApi.create_intent

    async def otherwise(self, params, *, key):
        return await create(self, {**params, "description": "new"}, key=key)

    monkeypatch.setattr(StripeApi, "create_intent", otherwise)
    shop.wait(minutes=5)
    await shop.attempts.run()
    assert shop.charges() == 2_500
    assert await shop.available_cents() == 2_500


async def test_a_card_that_is_gone_is_forgotten(shop: TopUps):
    """No event told of it: the refusal makes us look."""
    for method in list(shop.fake.all("payment_method")):
        method["customer"] = None
        shop.fake.cards.pop(method["id"])
    await shop.run_for(hours=30, every=timedelta(hours=2))
    (payment,) = await shop.payments()
    assert (payment.state, payment.failure_code) == ("failed", "refused")
    assert "Stripe refused" in payment.attention
    assert shop.tries() == 0
    assert (await shop.settings()).declines == 0
    await shop.save_card("good")
    await shop.attempts.run()
    assert shop.charges() == 2_500


@pytest.mark.parametrize("cause", ["dispute", "operator", "books"])
async def test_a_freeze_between_the_start_and_the_charge_stops_it(shop: TopUps, cause: str):
    await shop.starts.run(shop.now)
    await shop.freeze(cause)
    await shop.attempts.run()
    (payment,) = await shop.payments()
    assert (payment.state, shop.tries()) == ("canceled", 0)
    shop.wait(hours=1)
    await shop.attempts.run()
    assert len(await shop.payments()) == 1
    await shop.lift(cause)
    await shop.attempts.run()
    assert shop.charges() == 2_500


@pytest.mark.postgresql
async def test_a_hold_stops_what_was_sent_from_being_sent_again(shop: TopUps):
    """Whether the first request arrived is found out without another one."""
    shop.fake.faults.add("error_before", "payment_intents.create")
    await shop.attempts.run()
    await shop.hold()
    await shop.run_for(hours=2, every=timedelta(minutes=30))
    (payment,) = await shop.payments()
    assert (payment.state, shop.tries()) == ("canceled", 0)
    await shop.release()
    await shop.attempts.run()
    assert shop.charges() == 2_500


async def test_a_failure_that_stripe_repeats_ends_in_hours(
    shop: TopUps, monkeypatch: pytest.MonkeyPatch
):
    """Nothing was charged, and the key will say so for a day: the next attempt has another."""

    async def fail(*_arguments, **_options):
        sent.append(shop.now)
        raise StripeDown("Stripe failed (500)", is_answered=True)

    sent: list[object] = []
    monkeypatch.setattr(StripeApi, "create_intent", fail)
    await shop.run_for(hours=1, every=timedelta(minutes=10))
    (payment,) = await shop.payments()
    assert payment.state == "started"
    await shop.run_for(minutes=10, every=timedelta(minutes=10))
    asked = len(sent)
    await shop.run_for(hours=1.5, every=timedelta(minutes=10))
    (payment,) = await shop.payments()
    assert (payment.state, payment.failure_code) == ("failed", "not_charged")
    assert len(sent) == asked
    monkeypatch.undo()
    await shop.run_for(hours=2, every=timedelta(minutes=20))
    assert shop.charges() == 2_500
    assert await shop.available_cents() == 2_500


@pytest.mark.postgresql
async def test_an_attempt_that_breaks_us_keeps_no_other_waiting(
    shop: TopUps, monkeypatch: pytest.MonkeyPatch
):
    async with shop.database.write() as connection:
        first = await shop.another_organization(connection)
    start, carry_out = type(shop.starts).start, Attempts._carry_out

    async def breaks(self, connection, organization_id, now):
        if organization_id == first.id:
            raise ValueError
        return await start(self, connection, organization_id, now)

    async def broken(self, payment):
        broke.append(payment.id)
        if len(broke) == 1:
            raise ValueError
        await carry_out(self, payment)

    copied = {
        "organization_id": literal(first.id, tables.payments.c.id.type).label("o"),
        "customer_id": literal("cus_other").label("c"),
    }
    broke: list[str] = []
    monkeypatch.setattr(type(shop.starts), "start", breaks)
    monkeypatch.setattr(Attempts, "_carry_out", broken)
    async with shop.database.write() as connection:
        await auto_top_up.save(connection, first.id, RULES, user_id=None, now=shop.now)
        await connection.execute(
            insert(tables.payment_customers).from_select(
                list(tables.payment_customers.c.keys()),
                select(*(copied.get(c.name, c) for c in tables.payment_customers.c)),
            )
        )
    await shop.attempts.run()
    assert len(await shop.payments()) == 1
    monkeypatch.undo()
    shop.wait(seconds=LEASE.total_seconds())
    await shop.attempts.run()
    assert shop.charges() == 2_500


async def test_another_mode_leaves_attempts_alone(shop: TopUps):
    await shop.starts.run(shop.now)
    async with shop.database.write() as connection:
        await connection.execute(update(tables.payments).values(live=True))
    await shop.attempts.run()
    assert shop.tries() == 0
    assert BACK_OFF > MINUTE


async def die(*_arguments, **_options):
    raise Crash


def then_die(call):
    async def done(*arguments, **options):
        await call(*arguments, **options)
        raise Crash

    return done
