"""What the public is told of a model's service is what was measured, and nothing else."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from gateway.app.process import Process
from gateway.control_plane.catalog import catalog
from gateway.control_plane.status.performance import (
    DAYS,
    SAMPLES_MIN,
    Downtime,
    ModelPerformance,
    Performances,
    apart,
)
from gateway.identifiers import new_id
from gateway.storage.tables import (
    incidents,
    launches,
    model_answers,
    model_prices,
    models,
    traffic_hours,
)
from tests.control_plane.conftest import MINILM, STELLA

NOW = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)
HOUR = NOW.replace(minute=0)


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is read here."""
    return database_url


async def age(gateway: Process, days: float) -> None:
    """Let the catalog be of so many days ago."""
    async with gateway.core.database.write() as connection:
        at = NOW - timedelta(days=days)
        await connection.execute(update(models).values(created_at=at))


async def down(gateway: Process, start: datetime, end: datetime | None) -> None:
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(incidents).values(id=new_id(), model_id=MINILM, started_at=start, ended_at=end)
        )


async def answer(
    gateway: Process, hour: datetime, count: int, *, status: int = 2, ms: int = 30,
    model: str = MINILM,
) -> None:  # fmt: skip
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(model_answers).values(
                hour=hour, model_id=model, status_class=status, latency_ms=ms, answers=count
            )
        )


async def measured(gateway: Process, model_id: str = MINILM) -> ModelPerformance:
    performances = Performances(gateway.core.database, clock=lambda: NOW)
    await performances.refresh()
    return performances.of(model_id)


async def test_a_model_that_is_not_live_has_nothing(gateway: Process):
    for model_id in (STELLA, "no/such"):
        found = await measured(gateway, model_id)
        assert found == ModelPerformance()
        assert found.uptime_24h is found.uptime_30d is found.uptime_90d is None
        assert found.days == ()


async def test_without_traffic_nothing_but_uptime_is_known(gateway: Process):
    await age(gateway, 200)
    found = await measured(gateway)
    assert (found.requests_24h, found.p50_ms, found.p95_ms) == (0, None, None)
    assert found.error_share_24h is found.error_share_30d is found.tokens_per_second is None
    assert found.uptime_24h == found.uptime_90d == 1
    assert [bar.uptime for bar in found.days] == [1] * DAYS
    assert found.days[-1].day == date(2026, 11, 28)


async def test_a_new_model_is_measured_since_it_is_live(gateway: Process):
    await age(gateway, 200)
    async with gateway.core.database.write() as connection:
        price = await connection.scalar(
            model_prices.select().where(model_prices.c.model_id == MINILM)
        )
        await connection.execute(
            insert(launches).values(
                model_id=MINILM, price_id=price, launched_at=NOW - timedelta(hours=20)
            )
        )
    await down(gateway, NOW - timedelta(hours=10), NOW - timedelta(hours=5))
    found = await measured(gateway)
    assert found.live_since == NOW - timedelta(hours=20)
    assert found.uptime_24h == found.uptime_30d == pytest.approx(0.75)
    assert [bar.uptime is None for bar in found.days] == [True] * (DAYS - 2) + [False] * 2


def test_an_outage_before_the_launch_is_no_day_s():
    outage = Downtime(NOW - timedelta(hours=30), NOW - timedelta(hours=19))
    seen = ModelPerformance(as_of=NOW, live_since=NOW - timedelta(hours=20), outages=(outage,))
    yesterday, today = seen.days[-2:]
    assert (yesterday.seconds_down, today.seconds_down) == (3600, 0)
    assert yesterday.uptime == pytest.approx(1 - 1 / 5.5)  # it was launched at 18:30
    assert seen.uptime_24h == pytest.approx(0.95)


def test_a_model_is_new_for_a_day():
    for hours, is_new in ((23, True), (24, False)):
        since = NOW - timedelta(hours=hours)
        seen = ModelPerformance(as_of=NOW, live_since=since)
        assert seen.is_new is is_new
        assert seen.since(1) == (since if is_new else None)
        assert seen.since(30) == since
    for unknown in (ModelPerformance(), ModelPerformance(as_of=NOW)):
        assert not unknown.is_new
        assert unknown.since(30) is None


async def test_a_model_that_goes_live_this_moment_has_no_uptime(gateway: Process):
    await age(gateway, -1)  # or its clock is ahead of ours
    found = await measured(gateway)
    assert found.uptime_24h is None
    assert {bar.uptime for bar in found.days} == {None}


async def test_an_outage_over_midnight_is_part_of_both_days(gateway: Process):
    await age(gateway, 200)
    midnight = HOUR.replace(hour=0)
    await down(gateway, midnight - timedelta(hours=6), midnight + timedelta(hours=1))
    found = await measured(gateway)
    before, today = found.days[-2:]
    assert (before.seconds_down, today.seconds_down) == (6 * 3600, 3600)
    assert before.uptime == pytest.approx(0.75)
    assert today.uptime == pytest.approx(1 - 1 / 14.5)
    assert found.uptime_24h == pytest.approx(1 - 7 / 24)


async def test_what_lasts_still_counts_until_now(gateway: Process):
    await age(gateway, 200)
    await down(gateway, NOW - timedelta(days=120), None)
    found = await measured(gateway)
    assert found.uptime_90d == 0
    assert {bar.uptime for bar in found.days} == {0}


async def test_a_clock_that_was_put_back_takes_no_uptime(gateway: Process):
    await age(gateway, 200)
    await down(gateway, NOW - timedelta(hours=1), NOW - timedelta(hours=2))
    await down(gateway, NOW + timedelta(hours=1), NOW + timedelta(hours=2))
    assert (await measured(gateway)).uptime_24h == 1


def test_outages_that_overlap_count_once():
    def at(start: int, end: int) -> Downtime:
        return Downtime(NOW + timedelta(hours=start), NOW + timedelta(hours=end))

    assert list(apart([at(5, 6), at(0, 3), at(1, 2), at(3, 4)])) == [at(0, 4), at(5, 6)]
    assert list(apart([])) == []


async def test_latency_is_that_of_successes_of_a_day(gateway: Process):
    await answer(gateway, HOUR, 90, ms=30)
    await answer(gateway, HOUR - timedelta(hours=23), 10, ms=200)
    await answer(gateway, HOUR - timedelta(hours=24), 1000, ms=5000)  # over a day ago
    await answer(gateway, HOUR, 1000, status=5, ms=7000)
    await answer(gateway, HOUR, 1000, ms=1, model="another/model")
    found = await measured(gateway)
    assert (found.p50_ms, found.p95_ms) == (30, 200)
    assert found.requests_24h == 1100


async def test_too_few_successes_have_no_percentile(gateway: Process):
    await answer(gateway, HOUR, SAMPLES_MIN - 1)
    found = await measured(gateway)
    assert (found.p50_ms, found.p95_ms, found.requests_24h) == (None, None, SAMPLES_MIN - 1)


async def test_errors_are_the_gateways_own(gateway: Process):
    await answer(gateway, HOUR, 90)
    await answer(gateway, HOUR, 8, status=4)
    await answer(gateway, HOUR, 2, status=5)
    await answer(gateway, HOUR - timedelta(days=2), 50, status=5)
    await answer(gateway, HOUR - timedelta(days=20), 50)
    await answer(gateway, HOUR - timedelta(days=31), 1000, status=5)
    found = await measured(gateway)
    assert found.error_share_24h == pytest.approx(0.02)
    assert found.error_share_30d == pytest.approx(52 / 200)


async def test_throughput_is_that_of_the_busiest_hour_that_is_over(gateway: Process):
    hours = [(HOUR, 10**9), (HOUR - timedelta(hours=3), 7_200), (HOUR - timedelta(hours=5), 3_600)]
    async with gateway.core.database.write() as connection:
        for hour, tokens in hours:
            await connection.execute(
                insert(traffic_hours).values(
                    hour=hour, model_id=MINILM, requests=1, inputs=1, tokens=tokens,
                    charged_nanos=0,
                )
            )  # fmt: skip
    assert (await measured(gateway)).tokens_per_second == 2


async def test_what_was_known_stays_while_the_database_is_away(gateway: Process):
    await age(gateway, 200)
    performances = Performances(gateway.core.database, clock=lambda: NOW)
    await performances.refresh()
    known = performances.of(MINILM)
    async with gateway.core.database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE incidents RENAME TO gone")
    with pytest.raises(Exception, match="incidents"):
        await performances.refresh()
    assert performances.of(MINILM) is known


async def test_a_model_that_leaves_the_market_has_nothing_any_more(gateway: Process):
    performances = Performances(gateway.core.database, clock=lambda: NOW)
    await age(gateway, 200)
    await performances.refresh()
    assert performances.of(MINILM).uptime_24h == 1
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, MINILM, "retired")
    await performances.refresh()
    assert performances.of(MINILM).uptime_24h is None
