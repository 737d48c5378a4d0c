"""Errors by code, key and day, and what a used-up budget refused."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert

from gateway import wall
from gateway.control_plane.status import errors
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import error_hours

OWN, OTHER = new_id(), new_id()
FIRST, SECOND = sorted([new_id(), new_id()])
NOW = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def counted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "now", lambda: NOW)
    async with database.write() as connection:
        for organization, hours_ago, key, status, code, count in (
            (OWN, 0, FIRST, 402, "key_budget_exceeded", 20),
            (OWN, 14, FIRST, 402, "key_budget_exceeded", 6),  # the first hour of today
            (OWN, 15, FIRST, 402, "key_budget_exceeded", 3),
            (OWN, 1, SECOND, 404, "model_not_found", 29),
            (OWN, 24 * 3, SECOND, 404, "model_not_found", 1),
            (OWN, 24 * 40, SECOND, 503, "model_warming", 1_000),
            (OTHER, 0, FIRST, 402, "key_budget_exceeded", 1_000),
        ):
            at = NOW.replace(minute=0) - timedelta(hours=hours_ago)
            await connection.execute(
                insert(error_hours).values(
                    organization_id=organization, hour=at, key_id=key, model_id="",
                    status=status, code=code, errors=count,
                )
            )  # fmt: skip


async def test_errors_are_told_apart_by_code_and_key_and_day(database: Database):
    async with database.read() as connection:
        every = await errors.every_sum(connection, OWN, errors.first_day(4))
        assert await errors.every_sum(connection, new_id(), errors.first_day(30)) == []
    assert [(one.day, one.status, one.code, one.key_id, one.errors) for one in every] == [
        (date(2026, 11, 28), 404, "model_not_found", SECOND, 29),
        (date(2026, 11, 28), 402, "key_budget_exceeded", FIRST, 26),
        (date(2026, 11, 27), 402, "key_budget_exceeded", FIRST, 3),
        (date(2026, 11, 25), 404, "model_not_found", SECOND, 1),
    ]


async def test_a_used_up_budget_is_its_own_key_s(database: Database):
    today = date(2026, 11, 28)
    async with database.read() as connection:
        assert await errors.refused_by_budget(connection, OWN, today) == {FIRST: 26}
        assert await errors.refused_by_budget(connection, new_id(), today) == {}


async def test_only_the_most_frequent_are_read(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(errors, "SUMS_MAX", 1)
    async with database.read() as connection:
        (most,) = await errors.every_sum(connection, OWN, errors.first_day(30))
    assert (most.code, most.errors) == ("model_not_found", 29)
