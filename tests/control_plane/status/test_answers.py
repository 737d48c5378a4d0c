"""Answers, written down by the hour and summed up for the console."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select, text

from gateway import wall
from gateway.control_plane.status import answers
from gateway.control_plane.status.answers import Answered, Summary
from gateway.data_plane.tallies import AnswerTally
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import (
    answer_hours,
    error_hours,
    latency_days,
    latency_hours,
    model_answers,
)

TODAY = date(2026, 11, 23)
KEY, MODEL = new_id(), "a model"


def at(moment: datetime) -> Callable[[], float]:
    return moment.timestamp


async def summed(database: Database, organization_id: str) -> Summary:
    async with database.read() as connection:
        return await answers.summary(connection, organization_id, TODAY)


async def test_hours_add_up_to_today_and_the_month(database: Database):
    own, other = new_id(), new_id()
    for day, month, statuses in (
        (31, 10, [500] * 5),
        (1, 11, [200, 200, 404]),
        (23, 11, [200] * 18 + [429, 503]),
        (23, 11, [200] * 2),  # of another process, or a later flush: the sums add up
    ):
        counter = AnswerTally(
            entries_max=100, clock=at(datetime(2026, month, day, 10, 30, tzinfo=UTC))
        )
        for status in statuses:
            counter.answered(own, KEY, MODEL, status, "", 0.012)
        counter.answered(other, KEY, MODEL, 500, "internal_error", 0.012)
        await Answered(database, counter).flush()
    slow = AnswerTally(entries_max=9, clock=at(datetime(2026, 11, 23, 23, 59, tzinfo=UTC)))
    for status in (200, 200, 504):
        slow.answered(own, KEY, MODEL, status, "", 2.5)
    await Answered(database, slow).flush()
    assert await summed(database, own) == Summary(
        answers_month=28,
        errors_month=4,
        answers_today=25,
        errors_today=3,
        p50_ms=15,
        p95_ms=3_000,
        last_hour=datetime(2026, 11, 23, 23, tzinfo=UTC),
    )
    assert await summed(database, new_id()) == Summary(
        answers_month=0,
        errors_month=0,
        answers_today=0,
        errors_today=0,
        p50_ms=None,
        p95_ms=None,
        last_hour=None,
    )


async def test_each_answer_is_a_model_s_and_each_error_has_its_key_and_code(database: Database):
    own, other, key = new_id(), new_id(), new_id()
    for _ in range(2):  # of two processes
        counter = AnswerTally(entries_max=100, clock=at(datetime(2026, 11, 23, 10, tzinfo=UTC)))
        counter.answered(own, KEY, MODEL, 200, "", 0.012)
        counter.answered(other, key, MODEL, 200, "", 0.012)
        counter.answered(own, key, MODEL, 200, "", 0.012)
        counter.answered(own, KEY, "", 404, "model_not_found", 0.001)
        counter.answered(own, key, MODEL, 402, "key_budget_exceeded", 0.001)
        await Answered(database, counter).flush()
    hour = datetime(2026, 11, 23, 10, tzinfo=UTC)
    async with database.read() as connection:
        answered = set((await connection.execute(select(model_answers))).all())
        failed = set((await connection.execute(select(error_hours))).all())
        hours = set((await connection.execute(select(latency_hours))).all())
        days = set((await connection.execute(select(latency_days))).all())
    assert answered == {(hour, "", 4, 1, 2), (hour, MODEL, 2, 15, 6), (hour, MODEL, 4, 1, 2)}
    owners = [(own, KEY), (own, key), (other, key)]
    assert hours == {(whose, hour, by, MODEL, 15, 2) for whose, by in owners}
    assert days == {(whose, hour.date(), by, MODEL, 15, 2) for whose, by in owners}
    assert failed == {
        (own, hour, KEY, "", 404, "model_not_found", 2),
        (own, hour, key, MODEL, 402, "key_budget_exceeded", 2),
    }


async def test_sums_are_forgotten_and_hours_by_key_first(database: Database):
    for days_ago in (0, 3, 5, 91, 94):
        moment = wall.now() - timedelta(days=days_ago)
        counter = AnswerTally(entries_max=9, clock=at(moment))
        counter.answered(new_id(), KEY, MODEL, 200, "", 0.01)
        counter.answered(new_id(), KEY, MODEL, 404, "model_not_found", 0.01)
        await Answered(database, counter).flush()
    async with database.write() as connection:
        await answers.forget_old(connection, 92)
        left = [
            len((await connection.execute(select(table))).all())
            for table in (answer_hours, error_hours, latency_days, latency_hours)
        ]
    assert left == [8, 4, 4, 2]


async def test_what_cannot_be_written_is_kept(database: Database):
    counter = AnswerTally(entries_max=100)
    counter.answered(new_id(), KEY, MODEL, 200, "", 0.01)
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE answer_hours RENAME TO away"))
    with pytest.raises(Exception, match="answer_hours"):
        await Answered(database, counter).flush()
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO answer_hours"))
    counter.answered(new_id(), KEY, MODEL, 200, "", 0.01)
    await Answered(database, counter).flush()
    await Answered(database, counter).flush()  # with nothing counted it writes nothing
    async with database.write() as connection:
        assert list(await connection.scalars(select(answer_hours.c.answers))) == [1, 1]
        await answers.forget_old(connection, 1)
        assert len((await connection.execute(select(answer_hours))).all()) == 2
        await answers.forget_old(connection, -1)
        assert (await connection.execute(select(answer_hours))).all() == []


@pytest.mark.parametrize(
    ("counts", "percent", "bound"),
    [
        ({}, 50, None),
        ({10: 0, 20: 0}, 95, None),
        ({10: 1}, 95, 10),
        ({20: 1, 10: 1}, 50, 10),
        ({10: 94, 50: 6}, 95, 50),
        ({10: 95, 50: 5}, 95, 10),
        ({10: 0, 20: 7}, 50, 20),
    ],
)
def test_a_percentile_is_a_bound(counts: dict[int, int], percent: int, bound: int | None):
    assert answers.percentile(counts, percent) == bound
