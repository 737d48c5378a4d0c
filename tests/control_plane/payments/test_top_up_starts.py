"""Who is due for an auto top-up, and how often at most."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from gateway.control_plane.payments import top_up_starts
from gateway.control_plane.payments.payments import CENT_NANOS
from gateway.control_plane.payments.top_up_starts import INTERVAL, month_of, next_month
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage.database import Database
from gateway.storage.ledger import grants
from testing.stripe import fake_stripe
from testing.top_ups import RULES, TopUps, top_ups

pytestmark = pytest.mark.sqlite


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
async def shop(database: Database, fake: FakeStripe) -> AsyncIterator[TopUps]:
    async with top_ups(database, fake) as opened:
        yield opened


@pytest.mark.postgresql
async def test_nothing_starts_at_the_threshold_and_something_below_it(shop: TopUps):
    await grant(shop, RULES.threshold_nanos)
    assert await shop.starts.run(shop.now) == 0
    await shop.spend()
    await grant(shop, RULES.threshold_nanos - 1)
    assert await shop.starts.run(shop.now) == 1


async def test_what_is_off_or_lacks_a_card_does_not_start(shop: TopUps):
    await shop.save(msgspec.structs.replace(RULES, enabled=False))
    assert await shop.starts.run(shop.now) == 0
    await shop.save(RULES)
    for method in list(shop.fake.all("payment_method")):
        method["customer"] = None
    await shop.customers.refresh(shop.customer_id)
    assert await shop.starts.run(shop.now) == 0


@pytest.mark.parametrize("cause", ["dispute", "operator", "books", "hold"])
async def test_what_is_stopped_does_not_start(shop: TopUps, cause: str):
    await (shop.hold() if cause == "hold" else shop.freeze(cause))
    assert await shop.starts.run(shop.now) == 0
    await (shop.release() if cause == "hold" else shop.lift(cause))
    assert await shop.starts.run(shop.now) == 1


@pytest.mark.postgresql
async def test_an_organization_that_owes_may_top_up(shop: TopUps):
    await shop.owe(1_000)
    await shop.attempts.run()
    assert await shop.available_cents() == 1_500


async def test_attempts_are_a_minute_apart(shop: TopUps):
    await shop.attempts.run()
    await shop.spend()
    shop.now += INTERVAL - timedelta(seconds=1)
    await shop.attempts.run()
    assert shop.charges() == 2_500
    shop.now += timedelta(seconds=1)
    await shop.attempts.run()
    assert shop.charges() == 5_000


async def test_a_day_has_at_most_so_many_attempts(database: Database, fake: FakeStripe):
    async with top_ups(database, fake, day_max=3) as shop:
        for _ in range(23):
            await shop.attempts.run()
            await shop.spend()
            shop.wait(hours=1)
        assert shop.charges() == 3 * 2_500
        shop.wait(hours=2)
        await shop.attempts.run()
        assert shop.charges() == 4 * 2_500


@pytest.mark.postgresql
async def test_the_month_has_a_limit_that_one_mail_tells_of(database: Database, fake: FakeStripe):
    rules = msgspec.structs.replace(RULES, month_cents_max=6_000)
    async with top_ups(database, fake, rules=rules) as shop:
        shop.now = month_of(shop.now)
        for _ in range(10):
            await shop.attempts.run()
            await shop.spend()
            shop.wait(hours=1)
        assert shop.charges() == 5_000
        (mail,) = await shop.mails()
        assert mail.subject == "Auto top-up has reached its limit for this month"
        assert "$60.00" in mail.text
        await shop.save(msgspec.structs.replace(rules, month_cents_max=7_500))
        await shop.attempts.run()
        assert shop.charges() == 7_500
        await shop.spend()
        shop.wait(hours=1)
        await shop.attempts.run()
        assert len(await shop.mails()) == 2  # of the new limit
        shop.now = next_month(shop.now)
        await shop.attempts.run()
        assert shop.charges() == 10_000


@pytest.mark.postgresql
async def test_the_limit_counts_an_attempt_whose_outcome_is_unknown(
    database: Database, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch
):
    """Checked without the index that forbids a second open attempt."""
    rules = msgspec.structs.replace(RULES, month_cents_max=4_000)
    async with top_ups(database, fake, rules=rules) as shop:
        shop.now = next_month(shop.now)  # where the interval ends in the same month
        fake.faults.add("error_before", "payment_intents.create", times=100)
        await shop.attempts.run()
        shop.now += INTERVAL
        due = top_up_starts.due(shop.now)
        monkeypatch.setattr(top_up_starts, "UNFINISHED", ())
        everyone = top_up_starts.due(shop.now)
        monkeypatch.undo()
        assert str(due) != ""
        monkeypatch.setattr(top_up_starts, "due", lambda _now: everyone)
        async with database.write() as connection:
            assert not await shop.starts.start(connection, shop.organization_id, shop.now)
        settings = await shop.settings()
        assert settings.not_before == next_month(shop.now)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_start_waits_for_the_account_and_sees_what_happened(shop: TopUps):
    """Two processes found the same organization due; the second sees the first one's attempt."""
    async with shop.database.write() as first, shop.database.write() as second:
        assert await shop.starts.start(first, shop.organization_id, shop.now)
        waiting = asyncio.create_task(shop.starts.start(second, shop.organization_id, shop.now))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        await first.commit()
        assert not await waiting
    assert len(await shop.payments()) == 1


@pytest.mark.parametrize(
    ("now", "began", "next_one"),
    [
        ((2026, 1, 31), (2026, 1, 1), (2026, 2, 1)),
        ((2026, 12, 1), (2026, 12, 1), (2027, 1, 1)),
        ((2028, 2, 29), (2028, 2, 1), (2028, 3, 1)),
    ],
)
def test_months_are_those_of_the_calendar(now, began, next_one):
    moment = datetime(*now, 23, 59, tzinfo=UTC)
    assert month_of(moment) == datetime(*began, tzinfo=UTC)
    assert next_month(moment) == datetime(*next_one, tzinfo=UTC)


async def grant(shop: TopUps, amount_nanos: int) -> None:
    async with shop.database.write() as connection:
        await grants.grant(
            connection, shop.organization_id, amount_nanos, kind="promo", source_ref="test"
        )
    assert CENT_NANOS
