"""The service at a glance, on both databases."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from gateway.control_plane.accounts import organizations
from gateway.control_plane.status import pulse
from gateway.storage.database import Database
from gateway.storage.tables import traffic_answers

NOW = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
TODAY = NOW.replace(hour=0, minute=0)
WEEK = timedelta(days=7)


async def test_answers_by_hour_and_how_fast_two_days_were(database: Database):
    rows = [
        (TODAY, 2, 50, 90), (TODAY, 2, 100, 5), (TODAY, 2, 700, 5), (TODAY, 5, 7_000, 9),
        (TODAY + timedelta(hours=12), 4, 10, 3),
        (TODAY - WEEK, 2, 10, 90), (TODAY - WEEK, 2, 20, 5), (TODAY - WEEK, 2, 30, 5),
        (TODAY - WEEK + timedelta(hours=13), 2, 1_000, 99),
    ]  # fmt: skip
    async with database.write() as connection:
        for hour, status_class, latency_ms, answers in rows:
            values = {"status_class": status_class, "latency_ms": latency_ms, "answers": answers}
            await connection.execute(insert(traffic_answers).values(hour=hour, **values))
    async with database.read() as connection:
        hours = await pulse.answers_by_hour(connection, TODAY)
        today, before = await pulse.p95_ms(connection, (TODAY, NOW), (TODAY - WEEK, NOW - WEEK))
    assert hours == {TODAY: {2: 100, 5: 9}, TODAY + timedelta(hours=12): {4: 3}}
    # failures have no part in it, nor does what came later on the day of last week
    assert (today, before) == (100, 20)


async def test_organizations_that_are_new(database: Database):
    async with database.write() as connection:
        await organizations.create(connection, "acme")
    now = datetime.now(UTC) + timedelta(seconds=1)
    today = (now - timedelta(minutes=5), now)
    async with database.read() as connection:
        made = await pulse.new_organizations(connection, today, (now - 2 * WEEK, now - WEEK))
    assert made == (1, 0)
