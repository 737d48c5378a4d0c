"""The sums by the day: those of their hours, in UTC, whoever writes the hours and however often."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text

from gateway.control_plane.billing import usage
from gateway.data_plane.metering.messages import LeaseLine, Tick, TickAnswer
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import reading
from gateway.storage.ledger.postgres import _SHARDS_LOCK
from gateway.storage.tables import usage_days
from testing.ledger import Customer, add_customer, assert_sound, ledger_of, on_chatham

LAST = datetime(2026, 11, 3, 23, 59, 59, 999_000, UTC)
FIRST = datetime(2026, 11, 4, 0, 0, 0, 0, UTC)


def used(customer: Customer, at: datetime, tokens: int, lease_id: str | None = None) -> bytes:
    """A line of usage; one without a lease is paid by the account itself."""
    charge = customer.charge(tokens)
    return msgspec.json.encode({
        "request_id": charge.request_id, "organization_id": charge.organization_id,
        "key_id": charge.key_id, "model_id": charge.model_id, "price_id": charge.price_id,
        "inputs": 1, "tokens": tokens, "cost_nanos": charge.cost_nanos,
        "lease_id": lease_id or new_id(), "budget_id": None, "budget_lease_id": None,
        "created_ms": int(at.timestamp() * 1000),
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
    await on_chatham(database)
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


async def test_requests_and_their_inputs_are_told_apart(database: Database):
    customer = await add_customer(database, 100)
    line = msgspec.json.decode(used(customer, FIRST, 3)) | {"inputs": 5}
    await tick(database, msgspec.json.encode(line))
    async with database.read() as connection:
        (day,) = await reading.by_day(connection, customer.organization_id)
    assert (day.requests, day.inputs, day.tokens, day.charged_nanos) == (1, 5, 3, 24)


async def test_usage_without_a_lease_may_cost_all_there_is(database: Database):
    customer = await add_customer(database, 3)
    await tick(database, used(customer, FIRST, 3))
    assert await days(database) == [(date(2026, 11, 4), 0, 1, 3, 24)]
    await assert_sound(database)


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
        api = await reading.by_day(connection, customer.organization_id)
        since = usage.Filter(since=date(2026, 11, 4))
        page = await usage.every_sum(connection, customer.organization_id, since)
        csv = await usage.sums(connection, customer.organization_id, since, by="day")
        after = reading.Place(api[0].day, api[0].key_id, api[0].model_id)
        rest = await reading.by_day(connection, customer.organization_id, after=after)
    assert [(day.day.isoformat(), day.charged_nanos) for day in api] == [
        ("2026-11-04", 48),
        ("2026-11-03", 32),
    ]
    assert rest == api[1:]
    assert page["day"] == csv
    assert [(day.group, day.cost_nanos) for day in csv] == [("2026-11-04", 48)]
    assert [(key.group, key.tokens) for key in page["key"]] == [(customer.key_id, 6)]


class Replica:
    """A process with a lease on each customer, in the shard that it shares with another."""

    def __init__(self, database: Database, customers: list[Customer]) -> None:
        self.database = database
        self.id = new_id()
        self.number = 0
        self.leases = {customer: new_id() for customer in customers}

    async def lease(self) -> None:
        asked = [
            LeaseLine(
                id=lease, account_id=customer.organization_id, action="ask",
                least_nanos=80, target_nanos=80,
            )
            for customer, lease in self.leases.items()
        ]  # fmt: skip
        answer = await self.tick(leases=asked)
        assert not any(lease.denied for lease in answer.leases)

    async def use(self, *used_at: tuple[Customer, datetime]) -> None:
        lines = [used(customer, at, 1, self.leases[customer]) for customer, at in used_at]
        answer = await self.tick(*lines)
        assert (answer.refused, answer.written_off) == ([], [])

    async def tick(self, *lines: bytes, leases: list[LeaseLine] | None = None) -> TickAnswer:
        self.number += 1
        sent = Tick(
            replica_id=self.id, number=self.number, lease_seconds=90.0, shard=3,
            lease_ids=list(self.leases.values()), answered=[],
            usage=[msgspec.Raw(line) for line in lines], leases=leases or [],
        )  # fmt: skip
        ledger = ledger_of(self.database)
        try:
            return await ledger.tick(sent)
        finally:
            await ledger.close()


@pytest.fixture
async def gated(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    """A database in which whoever changed a day's row waits there until lock 42 is free."""
    opened = Database(postgresql_database_url[0])
    async with opened.write() as connection:
        await connection.execute(
            text("""
            CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL;
            END $$
            """)
        )
        await connection.execute(
            text(
                "CREATE TRIGGER gate AFTER INSERT OR UPDATE ON usage_days FOR EACH ROW "
                "EXECUTE FUNCTION wait_at_the_gate()"
            )
        )
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("minute", "second", "turns"),
    [(30, 0, False), (59, 54, False), (59, 56, True), (0, 0, True), (0, 29, True), (0, 31, False)],
)
async def test_ticks_take_turns_around_a_full_hour_alone(
    gated: Database, minute: int, second: int, turns: bool
):
    customer = await add_customer(gated, 100)
    replica = Replica(gated, [customer])
    await replica.lease()
    used_at = datetime(2026, 11, 4, 10, minute, second, tzinfo=UTC)
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE NOT granted AND datname = current_database()"
    )
    async with gated.engine.connect() as sibling, asyncio.timeout(20):
        await sibling.execute(text("SELECT pg_advisory_lock(:lock, 3)"), {"lock": _SHARDS_LOCK})
        tick = asyncio.ensure_future(replica.use((customer, used_at)))
        while turns and await sibling.scalar(waiting) < 1:
            await asyncio.sleep(0.01)
        if not turns:
            await tick
        await sibling.execute(text("SELECT pg_advisory_unlock(:lock, 3)"), {"lock": _SHARDS_LOCK})
        await tick
    await assert_sound(gated)


async def test_two_processes_of_a_shard_do_not_deadlock_on_a_full_hour(gated: Database):
    """Each begins an hour for one customer and adds to the hour before for the other."""
    last = datetime(2026, 11, 4, 9, 59, 59, tzinfo=UTC)
    first = last + timedelta(seconds=1)
    one, other = [await add_customer(gated, 100) for _ in range(2)]
    replicas = [Replica(gated, [one, other]) for _ in range(2)]
    for replica in replicas:
        await replica.lease()
    await replicas[0].use((one, last), (other, last))
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE NOT granted AND datname = current_database()"
    )
    async with gated.engine.connect() as gate, asyncio.timeout(20):
        await gate.execute(text("SELECT pg_advisory_lock(42)"))
        ticks = asyncio.gather(
            replicas[0].use((one, first), (other, last)),
            replicas[1].use((other, first), (one, last)),
        )
        while await gate.scalar(waiting) < 2:
            await asyncio.sleep(0.01)
        await gate.execute(text("SELECT pg_advisory_unlock(42)"))
        await ticks
    assert [row[2:] for row in await days(gated)] == [(3, 3, 24)] * 2
    await assert_sound(gated)
