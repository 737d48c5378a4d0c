"""Errors over time, as charts draw them: of the hours, the key and the model that were chosen."""

from datetime import UTC, date, datetime
from functools import partial

import pytest
from sqlalchemy import insert

from gateway.control_plane.status import error_series
from gateway.control_plane.status.error_series import ErrorFilter
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import error_hours

OWN, OTHER = new_id(), new_id()
FIRST, SECOND, THIRD = sorted([new_id(), new_id(), new_id()])
SINCE, NEXT = date(2026, 11, 27), date(2026, 11, 28)


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


UNTIL = at(NEXT, 14)
ROWS = [
    (OWN, at(date(2026, 11, 26), 23), THIRD, "b", 1_000),  # the day before
    (OWN, at(SINCE, 0), FIRST, "a", 1),
    (OWN, at(SINCE, 23), SECOND, "b", 2),
    (OWN, at(NEXT, 0), SECOND, "a", 4),
    (OWN, UNTIL, FIRST, "a", 8),
    (OWN, UNTIL, THIRD, "", 5),
    (OWN, at(NEXT, 15), FIRST, "a", 100),  # an hour too late, but for whole days
    (OWN, at(date(2026, 11, 29), 0), THIRD, "b", 1_000),  # a day too late
    (OTHER, UNTIL, THIRD, "b", 1_000),
]


@pytest.fixture(autouse=True)
async def counted(database: Database) -> None:
    names = ("organization_id", "hour", "key_id", "model_id", "errors")
    rows = [dict(zip(names, row, strict=True)) | {"status": 404, "code": "c"} for row in ROWS]
    async with database.write() as connection:
        await connection.execute(insert(error_hours), rows)


async def test_errors_by_hour_and_day_and_group(database: Database):
    chosen = ErrorFilter(since=SINCE, until=UNTIL)
    async with database.read() as connection:
        errors = partial(error_series.errors, connection, OWN, chosen)
        hours = await errors(by="none", groups=(), hourly=True)
        days = await errors(by="none", groups=(), hourly=False)
        models = await errors(by="model", groups=["a"], hourly=False)
        keys = await errors(by="key", groups=[FIRST, SECOND], hourly=False)
    assert sorted(hours) == [
        (at(SINCE, 0), "", 1), (at(SINCE, 23), "", 2), (at(NEXT, 0), "", 4), (UNTIL, "", 13),
    ]  # fmt: skip
    assert sorted(days) == [(SINCE, "", 3), (NEXT, "", 117)]
    assert sorted(models) == [(SINCE, "", 2), (SINCE, "a", 1), (NEXT, "", 5), (NEXT, "a", 112)]
    assert sorted(keys) == [
        (SINCE, FIRST, 1), (SINCE, SECOND, 2), (NEXT, "", 5), (NEXT, FIRST, 108), (NEXT, SECOND, 4),
    ]  # fmt: skip


async def test_most_errors_come_first_and_filters_leave_the_rest_out(database: Database):
    chosen = partial(ErrorFilter, since=SINCE, until=UNTIL)
    async with database.read() as connection:
        most = partial(error_series.most_errors, connection, OWN, chosen())
        assert await most(by="key", limit=2) == [FIRST, SECOND]
        assert await most(by="model", limit=9) == ["a", "", "b"]
        count = partial(error_series.error_count, connection, OWN)
        assert await count(chosen()) == 20
        assert await count(chosen(key_id=FIRST)) == 9
        assert await count(chosen(key_id="x")) == 0
        assert await count(chosen(model_id="a")) == 13
        assert await count(chosen(key_id=SECOND, model_id="b")) == 2
