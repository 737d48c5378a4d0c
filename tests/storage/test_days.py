"""The sums by the day: those of their hours, in UTC, whoever writes the hours and however often."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from gateway.control_plane.billing import usage as billing
from gateway.data_plane.metering.ticks import Tick
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import usage
from gateway.storage.tables import usage_days
from tests.support.ledger import Customer, add_customer, assert_sound, in_auckland, ledger_of

LAST = datetime(2026, 11, 3, 23, 59, 59, 999_000, UTC)
FIRST = datetime(2026, 11, 4, 0, 0, 0, 0, UTC)


def used(customer: Customer, at: datetime, tokens: int) -> bytes:
    """A line of usage without a lease, which the account pays itself."""
    charge = customer.charge(tokens)
    return msgspec.json.encode({
        "request_id": charge.request_id, "organization_id": charge.organization_id,
        "key_id": charge.key_id, "model_id": charge.model_id, "price_id": charge.price_id,
        "inputs": 1, "tokens": tokens, "cost_nanos": charge.cost_nanos, "lease_id": new_id(),
        "budget_id": None, "budget_lease_id": None, "created_ms": int(at.timestamp() * 1000),
    })  # fmt: skip


async def tick(database: Database, *lines: bytes, shard: int = 0) -> None:
    sent = Tick(
        replica_id=new_id(), number=1, lease_seconds=90.0, shard=shard, lease_ids=[],
        answered=[], usage=[msgspec.Raw(line) for line in lines], leases=[],
    )  # fmt: skip
    ledger = ledger_of(database)
    answer = await ledger.tick(sent)
    await ledger.close()
    assert (answer.refused, answer.written_off) == ([], [])


async def days(database: Database) -> list[tuple[Any, ...]]:
    query = select(usage_days).order_by("day", "shard")
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return [(row.day, row.shard, row.requests, row.tokens, row.charged_nanos) for row in rows]


@pytest.fixture
async def far_east(database: Database) -> Database:
    await in_auckland(database)
    return database


async def test_a_day_ends_at_midnight_of_utc(far_east: Database):
    customer = await add_customer(far_east, 100)
    await tick(far_east, used(customer, LAST, 2), used(customer, FIRST, 3))
    await tick(far_east, used(customer, LAST, 5), used(customer, FIRST, 7), shard=9)
    await tick(far_east, used(customer, FIRST, 11))
    assert await days(far_east) == [
        (date(2026, 11, 3), 0, 1, 2, 16),
        (date(2026, 11, 3), 9, 1, 5, 40),
        (date(2026, 11, 4), 0, 2, 14, 112),
        (date(2026, 11, 4), 9, 1, 7, 56),
    ]
    await assert_sound(far_east)


async def test_usage_that_is_handed_over_twice_is_in_its_day_once(database: Database):
    customer = await add_customer(database, 100)
    line = used(customer, FIRST, 3)
    for _ in range(2):
        await tick(database, line, line)
    assert await days(database) == [(date(2026, 11, 4), 0, 1, 3, 24)]
    await assert_sound(database)


async def test_pages_and_the_api_read_days_of_all_processes(far_east: Database):
    customer = await add_customer(far_east, 100)
    for shard in (0, 9):
        await tick(far_east, used(customer, LAST, 2), used(customer, FIRST, 3), shard=shard)
    async with far_east.read() as connection:
        api = await usage.by_day(connection, customer.organization_id)
        since = billing.Filter(since=date(2026, 11, 4))
        page = await billing.every_sum(connection, customer.organization_id, since)
        csv = await billing.sums(connection, customer.organization_id, since, by="day")
        after = usage.Place(api[0].day, api[0].key_id, api[0].model_id)
        rest = await usage.by_day(connection, customer.organization_id, after=after)
    assert [(day.day.isoformat(), day.charged_nanos) for day in api] == [
        ("2026-11-04", 48),
        ("2026-11-03", 32),
    ]
    assert rest == api[1:]
    assert page["day"] == csv
    assert [(day.group, day.cost_nanos) for day in csv] == [("2026-11-04", 48)]
    assert [(key.group, key.tokens) for key in page["key"]] == [(customer.key_id, 6)]
