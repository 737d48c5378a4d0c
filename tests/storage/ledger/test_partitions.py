"""Partitions are made and dropped beside ticks, backups and wrong clocks; the books stay whole."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from gateway.control_plane.billing import needs
from gateway.control_plane.billing.audit import audit
from gateway.identifiers import first_id, new_id
from gateway.storage.database import Database
from gateway.storage.ledger import partitions
from gateway.storage.tables import audit_sums, leases, usage_hours
from testing.filled import Books
from testing.gateways import open_api
from testing.ledger import assert_sound

TODAY = datetime.now(UTC).date()
RETENTION = 32


def id_of(day: date) -> str:
    """An id that a gateway whose clock is at noon of that day makes."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return first_id(noon)[:14] + new_id()[14:]


@pytest.fixture
async def postgresql(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    opened = Database(postgresql_database_url[0])
    yield opened
    await opened.close()


async def partition(database: Database, day: date, table: str = "usage_events") -> int | None:
    """Make the partition of a day."""
    if database.is_sqlite:
        return None
    async with database.write() as connection:
        call = text("SELECT ledger_partition(:table, :day)")
        return await connection.scalar(call, {"table": table, "day": day})


async def rows(database: Database, table: str = "usage_events") -> int:
    async with database.read() as connection:
        return await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0


async def test_old_usage_goes_and_the_books_stay_whole(database: Database):
    """The review's: the audit was broken for ever once a partition was dropped."""
    old = TODAY - timedelta(days=40)
    books = await Books.fill(database)
    await partition(database, old)
    await books.use(4, request_id=id_of(old))  # of a lease that stays open, and of its budget
    await assert_sound(database)
    await audit(database)  # which seals them on PostgreSQL
    await books.use(4, request_id=id_of(old))
    kept = await rows(database) - 2

    done = await partitions.maintain(database, retention_days=RETENTION)

    assert done.dropped == ([] if database.is_sqlite else [f"usage_events_{old:%Y%m%d}"])
    assert await rows(database) == kept
    async with database.read() as connection:
        tokens = await connection.scalar(select(func.sum(usage_hours.c.tokens)))
    assert tokens == 3 + 2 + 1 + 2 + 5 + 4 + 4
    await audit(database)
    await books.use(2)
    await books.post()
    await books.close()
    await audit(database)
    await assert_sound(database)
    async with database.write() as connection:  # and it still sees what is wrong of that day
        await connection.execute(update(usage_hours).values(tokens=usage_hours.c.tokens + 1))
    with pytest.raises(AssertionError):
        await assert_sound(database)


async def test_what_is_dropped_leaves_the_seal_and_nothing_else_does(postgresql: Database):
    async def seal() -> dict[tuple[str, str], int]:
        query = select(audit_sums).where(audit_sums.c.part == "sealed")
        async with postgresql.read() as connection:
            return {(row.kind, row.id): row.amount for row in await connection.execute(query)}

    old = TODAY - timedelta(days=40)
    books = await Books.fill(postgresql)
    await partition(postgresql, old)
    await books.use(4, request_id=id_of(old))
    lease, budget_lease = books.lease, books.budget_lease
    books.lease, books.budget_lease = new_id(), new_id()
    await books.open()
    await books.use(1)
    assert await audit(postgresql)
    await books.use(2, request_id=id_of(old))  # which no seal counts
    before = await seal()
    await partitions.maintain(postgresql, retention_days=RETENTION)
    after = await seal()
    assert {part: after[part] - before[part] for part in before if after[part] != before[part]} == {
        ("lease", lease): -32, ("lease", budget_lease): -32, ("budget", books.budget): -32,
    }  # fmt: skip


async def test_old_leases_go_when_they_are_closed_and_long_unused(database: Database):
    books = await Books.fill(database)
    long_ago = datetime.now(UTC) - timedelta(days=40)
    async with database.write() as connection:
        await connection.execute(update(leases).values(opened_at=long_ago))
        one = await connection.scalar(select(leases.c.id).where(leases.c.state == "closed"))
        await connection.execute(
            update(leases).where(leases.c.id == one).values(expires_at=long_ago)
        )
    await partitions.maintain(database, retention_days=RETENTION)
    async with database.read() as connection:
        states = list(await connection.scalars(select(leases.c.state)))
    assert sorted(states) == ["closed", "open", "open"]
    await assert_sound(database)
    await books.close()
    await assert_sound(database)


async def test_strays_are_moved_and_the_rest_of_them_told(postgresql: Database, now: datetime):
    """The review's: one id of a wrong clock stopped upkeep, and the start of every gateway."""
    books = await Books.fill(postgresql)  # of today, which has no partition yet
    for ahead in (-3, 5):
        await books.use(1, request_id=id_of(now.date() + timedelta(days=ahead)))
    await books.use(1, request_id=id_of(now.date() + timedelta(days=100)))
    await books.use(1, request_id=id_of(now.date() - timedelta(days=100)))
    before = await rows(postgresql)

    done = await partitions.maintain(postgresql, retention_days=RETENTION)

    assert done.moved == {"usage_events": before - 2}
    async with postgresql.read() as connection:
        left = {"usage_events": 1, "receipt_roots": 0}
        assert await partitions.strays(connection) == left
        (need,) = await needs.strays(connection, now)
    assert "1 row" in need.words
    assert await rows(postgresql) == before - 1  # the one of long ago is over its retention
    for ahead in (-3, 0, 5):
        assert await rows(postgresql, f"usage_events_{now + timedelta(days=ahead):%Y%m%d}") >= 1
    await assert_sound(postgresql)
    with pytest.raises(DBAPIError, match="append-only"):  # history is as closed as before
        async with postgresql.write() as connection:
            await connection.execute(text("DELETE FROM usage_events"))


async def test_ticks_go_on_while_a_backup_runs(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
):
    """`pg_dump` reads every table in one long transaction."""
    old = TODAY - timedelta(days=40)
    books = await Books.fill(postgresql)
    await partition(postgresql, old)
    await partitions.maintain(postgresql, retention_days=50)
    ahead = f"usage_events_{TODAY + timedelta(days=7):%Y%m%d}"
    async with postgresql.write() as connection:
        await connection.execute(text(f"DROP TABLE {ahead}"))
    monkeypatch.setattr(partitions, "_TRIES", 1)
    waiting = ticks = 0

    async def work() -> None:
        nonlocal waiting, ticks
        while not upkeep.done():
            ticks += 1
            if ticks < 30:  # then its lease is spent
                await books.use(1)  # raises LedgerUnavailable when it waits for two seconds
            async with postgresql.read() as connection:
                query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                waiting += await connection.scalar(query) or 0

    async with postgresql.engine.connect() as backup:
        await backup.execute(text("LOCK TABLE usage_events, receipt_roots IN ACCESS SHARE MODE"))
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as group:
                upkeep = group.create_task(
                    partitions.maintain(postgresql, retention_days=RETENTION)
                )
                await work()
        assert upkeep.result().dropped == []
        assert [line["what"] for line in logs] == ["ledger_partition", "ledger_retire"]
        assert waiting == 0
    done = await partitions.maintain(postgresql, retention_days=RETENTION)
    assert done.dropped == [f"usage_events_{old:%Y%m%d}"]
    assert await rows(postgresql, ahead) == 0


async def test_nothing_is_dropped_while_the_books_are_audited(postgresql: Database):
    old = TODAY - timedelta(days=40)
    await partition(postgresql, old)
    async with postgresql.engine.connect() as auditor:
        await auditor.execute(text("SELECT pg_advisory_lock(5759262)"))
        assert (await partitions.maintain(postgresql, retention_days=RETENTION)).dropped == []
        await auditor.execute(text("SELECT pg_advisory_unlock(5759262)"))
    assert (await partitions.maintain(postgresql, retention_days=RETENTION)).dropped != []


async def test_two_at_once_and_twice(postgresql: Database, now: datetime):
    both = [partitions.maintain(postgresql, retention_days=RETENTION) for _ in range(2)]
    await asyncio.gather(*both)
    await partitions.maintain(postgresql, retention_days=RETENTION)
    async with postgresql.read() as connection:
        tables = text("SELECT relname FROM pg_class WHERE relkind = 'r'")
        made = set(await connection.scalars(tables))
    for table in ("usage_events", "receipt_roots"):
        days = {f"{table}_{now + timedelta(days=ahead):%Y%m%d}" for ahead in range(8)}
        assert days <= made
    async with postgresql.write() as connection:
        again = text("SELECT ledger_partition('usage_events', current_date)")
        assert await connection.scalar(again) == 0, "and nothing is moved twice"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ledger_partition('usage_events', current_date + 10)", "so far ahead"),
        ("ledger_partition('accounts', current_date)", "case not found"),
        ("ledger_retire('usage_events', current_date - 20)", "last 31 days"),
        ("ledger_retire('ledger_entries', current_date - 100)", "case not found"),
    ],
)
async def test_the_functions_have_bounds(postgresql: Database, call: str, message: str):
    with pytest.raises(DBAPIError, match=message):
        async with postgresql.write() as connection:
            await connection.execute(text(f"SELECT {call}"))


async def test_upkeep_that_fails_keeps_nothing_from_starting(
    sqlite_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("gateway.app.core.maintain", fail)
    async with open_api(sqlite_database_url[0]) as api:
        assert (await api.http.get("/health/live")).status_code == 200
