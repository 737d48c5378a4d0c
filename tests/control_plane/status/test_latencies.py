"""Latencies over time, as charts draw them: of a key, of a model and of all, from sums of both."""

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import insert

from gateway.control_plane.status import latencies
from gateway.control_plane.status.latencies import LatencyFilter
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import answer_hours, latency_days, latency_hours

OWN, OTHER = new_id(), new_id()
FIRST, SECOND = new_id(), new_id()
DAY = date(2026, 11, 28)
BEFORE = DAY - timedelta(days=1)
HOUR = datetime(2026, 11, 28, 9, tzinfo=UTC)
SPAN = LatencyFilter(since=BEFORE, until=HOUR, hourly=False)
ROWS = [
    (OWN, 0, FIRST, "a", 20, 1),
    (OWN, 0, FIRST, "b", 20, 2),
    (OWN, 0, FIRST, "b", 50, 4),
    (OWN, 0, SECOND, "a", 20, 8),
    (OWN, 1, SECOND, "b", 20, 16),
    (OWN, 2, FIRST, "a", 20, 1_000),  # the day before the first
    (OTHER, 0, FIRST, "a", 20, 1_000),
]
"""An organization, the days since, a key, a model, a bound and the answers."""


@pytest.fixture(autouse=True)
async def counted(database: Database) -> None:
    async with database.write() as connection:
        for organization_id, ago, key_id, model_id, bound, answers in ROWS:
            sums = {"organization_id": organization_id, "latency_ms": bound, "answers": answers}
            owners = {"key_id": key_id, "model_id": model_id}
            day = DAY - timedelta(days=ago)
            await connection.execute(insert(latency_days).values(**sums, **owners, day=day))
            hour = HOUR - timedelta(days=ago)
            await connection.execute(insert(latency_hours).values(**sums, **owners, hour=hour))
        for status_class, answers in ((2, 32), (4, 1_000)):
            await connection.execute(
                insert(answer_hours).values(
                    organization_id=OWN, hour=HOUR, status_class=status_class, latency_ms=30,
                    answers=answers,
                )
            )  # fmt: skip


async def test_a_bound_of_several_is_added_up(database: Database):
    async with database.read() as connection:
        keys = await latencies.by_slot(connection, OWN, SPAN, by="key", owners=[FIRST, SECOND])
        models = await latencies.by_slot(connection, OWN, SPAN, by="model", owners=["a"])
        hourly = msgspec.structs.replace(SPAN, hourly=True)
        hours = await latencies.by_slot(connection, OWN, hourly, by="key", owners=[FIRST])
        owners = await latencies.by_owner(connection, OWN, SPAN)
    assert keys == {FIRST: {DAY: {20: 3, 50: 4}}, SECOND: {DAY: {20: 8}, BEFORE: {20: 16}}}
    assert models == {"a": {DAY: {20: 9}}}
    assert hours == {FIRST: {HOUR: {20: 3, 50: 4}}}
    assert owners == {
        "key": {FIRST: {20: 3, 50: 4}, SECOND: {20: 24}},
        "model": {"a": {20: 9}, "b": {20: 18, 50: 4}},
    }


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"key_id": FIRST}, {DAY: {20: 3, 50: 4}}),
        ({"model_id": "b"}, {DAY: {20: 2, 50: 4}, BEFORE: {20: 16}}),
        ({"key_id": SECOND, "model_id": "b"}, {BEFORE: {20: 16}}),
        ({"key_id": "no id"}, {}),
    ],
)
async def test_a_key_and_a_model_are_chosen(
    database: Database, chosen: dict[str, str], found: dict[date, dict[int, int]]
):
    span = msgspec.structs.replace(SPAN, **chosen)
    async with database.read() as connection:
        assert (await latencies.by_slot(connection, OWN, span)).get("", {}) == found


@pytest.mark.parametrize("hourly", [True, False])
async def test_of_all_there_are_successes_alone(database: Database, hourly: bool):
    span = msgspec.structs.replace(SPAN, hourly=hourly)
    async with database.read() as connection:
        found = await latencies.of_all(connection, OWN, span)
        assert await latencies.of_all(connection, OTHER, span) == {}
    assert found == {HOUR if hourly else DAY: {30: 32}}
