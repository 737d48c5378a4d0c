"""The API's days: each response is of its UTC day, whenever the process last read."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert

from gateway.control_plane.status.api_health import ApiDays, ApiHealth
from gateway.control_plane.status.day_bar import RESPONSES_MIN, DayBar
from gateway.control_plane.status.performance import DAYS
from gateway.storage.database import Database
from gateway.storage.tables import model_answers

NOW = datetime(2026, 11, 28, 14, 30, 5, 7, tzinfo=UTC)
TODAY = NOW.date()


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


async def answer(database: Database, hour: datetime, status_class: int = 2, times: int = 1) -> None:
    async with database.write() as connection:
        await connection.execute(
            insert(model_answers).values(
                hour=hour, model_id="m", status_class=status_class, latency_ms=times, answers=times
            )
        )


def known(health: ApiHealth) -> dict[date, int]:
    return {bar.day: bar.responses for bar in health.known.days if bar.responses}


async def test_an_hour_is_of_its_day(database: Database):
    midnight = datetime(2026, 11, 28, tzinfo=UTC)
    hours = {  # before today, and how many answers
        midnight + timedelta(hours=14): 1,
        midnight: 2,
        midnight - timedelta(hours=1): 4,
        midnight - timedelta(days=1): 8,
        midnight - timedelta(days=1, hours=1): 16,
        midnight - timedelta(days=1, hours=2): 32,
        midnight - timedelta(days=DAYS - 1): 64,
        midnight - timedelta(days=DAYS - 1, hours=1): 128,  # too old
    }
    for hour, times in hours.items():
        await answer(database, hour, times=times)
    health = ApiHealth(database, clock=lambda: NOW)
    await health.refresh()
    assert known(health) == {
        TODAY: 3,
        TODAY - timedelta(days=1): 12,
        TODAY - timedelta(days=2): 48,
        TODAY - timedelta(days=DAYS - 1): 64,
    }
    assert [bar.day for bar in health.known.days] == [
        TODAY - timedelta(days=ago) for ago in reversed(range(DAYS))
    ]
    assert health.known.days[-1] == DayBar(TODAY, 1.0, 0, 3)
    assert (health.known.responses, health.known.as_of) == (127, NOW)


async def test_a_failure_is_ours_from_500_on(database: Database):
    for status_class in (2, 4, 5):
        await answer(database, NOW.replace(minute=0, second=0, microsecond=0), status_class)
    health = ApiHealth(database, clock=lambda: NOW)
    await health.refresh()
    assert health.known.share == health.known.days[-1].uptime == pytest.approx(2 / 3)


async def test_days_that_end_while_it_runs_stay_known(database: Database):
    clock = Clock()
    yesterday = datetime(2026, 11, 27, 9, tzinfo=UTC)
    await answer(database, yesterday, times=3)
    health = ApiHealth(database, clock=clock)
    await health.refresh()
    clock.now += timedelta(days=1)
    await health.refresh()
    assert known(health) == {yesterday.date(): 3}
    clock.now += timedelta(minutes=1)  # what is over is read once an hour
    await answer(database, yesterday, times=5)
    await health.refresh()
    assert known(health) == {yesterday.date(): 3}
    clock.now += timedelta(hours=1)
    await health.refresh()
    assert known(health) == {yesterday.date(): 8}


@pytest.mark.parametrize(
    ("responses", "is_few"), [(RESPONSES_MIN - 1, True), (RESPONSES_MIN, False)]
)
def test_few_responses_say_nothing(responses: int, is_few: bool):
    assert ApiDays(responses=responses).is_few is is_few
