"""Moves a deployment's whole database from SQLite to an empty one on PostgreSQL.

All of it is one transaction, so a move that is killed leaves the target as it was, and is started
again. The source is locked alone for as long: a process that uses it, however idle, is in the way,
and none can start. Rows stream through, so memory does not grow with them. What has arrived is read
back and compared, and must satisfy the same rules as any books, before it is committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    URL,
    Boolean,
    Column,
    Connection,
    Integer,
    NullPool,
    Table,
    create_engine,
    delete,
    event,
    exists,
    func,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import first_id, made_at_ms
from gateway.storage.database import Database, DatabaseError
from gateway.storage.ledger import invariants, postings
from gateway.storage.tables import (
    answer_hours,
    catalog_versions,
    error_hours,
    golden_rows,
    known_secrets,
    lasting_secrets,
    leases,
    mac_secrets,
    metadata,
    model_prices,
    models,
    receipt_roots,
    schema_ranges,
    trail_entries,
    trail_heads,
    usage_events,
    usage_hours,
)

SEEDED = (
    golden_rows,
    model_prices,
    models,
    catalog_versions,
    mac_secrets,
    known_secrets,
    lasting_secrets,
    trail_heads,
    schema_ranges,
)
"""What commands fill in an empty database: the source's rows take the place of these."""
_FOLLOWED = (
    usage_hours,
    answer_hours,
    error_hours,
    models,
    model_prices,
    golden_rows,
    trail_entries,
)
"""Tables whose triggers write into others, which are moved as they are."""
_BY_THE_DAY = (usage_events, receipt_roots)
_ROWS_AT_ONCE = 2_000
_BUSY_MS = 200
_DIGEST_BYTES = 16


class InUse(DatabaseError):
    """A process has the database open, or left something behind that must be settled first."""


class NotEmpty(DatabaseError):
    """The target holds rows of its own."""


class NotEqual(DatabaseError):
    """What arrived is not what was sent, or breaks a rule of the books; nothing was kept."""


class MovedTable(msgspec.Struct, frozen=True):
    """A table that was moved, and how many rows it has."""

    name: str
    rows: int


class TrailHead(NamedTuple):
    """The newest entry of a database's audit trail; (0, zeros) before the first."""

    number: int
    hash: bytes


@contextmanager
def locked(url: URL) -> Iterator[Connection]:
    """Open a SQLite database that nobody else has open, and keep everybody out.

    Raises InUse, and DatabaseError if there is none.
    """
    if not url.database or not Path(url.database).is_file():
        raise DatabaseError(f"{url.database}: there is no such database")
    engine = create_engine(url.set(drivername="sqlite"), poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _take_alone)
    try:
        with engine.connect() as connection:
            try:
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
            except OperationalError as error:
                raise InUse(
                    f"{url.database}: a process has it open; stop the gateway and try again"
                ) from error
            yield connection
    finally:
        engine.dispose()


def retire(source: Connection) -> Path:
    """Rename the file, so that nothing serves from it any more, and return its new path.

    All that is in its write-ahead log goes into it first: that log goes by the old name.
    """
    source.rollback()
    source.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    file = Path(str(source.engine.url.database))
    return file.rename(f"{file}.moved")


def trail_head(source: Connection) -> TrailHead:
    """Return the newest entry of the source's audit trail."""
    return TrailHead(*source.execute(select(trail_heads.c.number, trail_heads.c.hash)).one())


def must_be_settled(source: Connection, journals: Path) -> None:
    """Make sure that no credit is leased, and no usage outside of the database. Raises InUse."""
    held = select(func.count()).select_from(leases).where(leases.c.state == "open")
    if count := source.scalar(held):
        raise InUse(
            f"{count} leases are open: a gateway ended without returning its credit. Start one on "
            "this database, wait two minutes, and stop it with SIGTERM or Ctrl-C"
        )
    if any(journals.glob("*/*.journal")):
        raise InUse(
            f"{journals} holds usage that is not in the database yet. Start a gateway on it, and "
            "stop it once the journal is replayed"
        )


@asynccontextmanager
async def moved(
    source: Connection, target: Database
) -> AsyncIterator[tuple[AsyncConnection, list[MovedTable]]]:
    """Copy everything and give the open transaction, which is committed unless the block raises.

    Raises NotEmpty, InUse, NotEqual and DatabaseError; then the target is as it was before.
    """
    await _must_fit(source, target)
    for table in _BY_THE_DAY:
        await _make_partitions(source, target, table)
    async with target.write() as connection:
        await _must_be_empty(connection)
        sent = await _copy_all(source, connection)
        for table in metadata.sorted_tables:
            arrived = await _read_back(connection, table)
            if arrived != sent[table.name]:
                raise NotEqual(
                    f"{table.name}: {sent[table.name].rows} rows were sent and {arrived.rows} "
                    "arrived, or they are not equal; nothing was kept"
                )
        breaches = await invariants.check(connection, invariants.Scope())
        if breaches:
            names = ", ".join(breach.invariant.name for breach in breaches)
            raise NotEqual(f"the books break rules: {names}; run `gateway audit` on the source")
        yield connection, [MovedTable(name, sum_.rows) for name, sum_ in sent.items()]


@dataclass
class _Sum:
    """How many rows there are, and a digest of them that does not depend on their order."""

    rows: int = 0
    digest: int = 0

    def add(self, row: tuple[Any, ...]) -> None:
        hashed = hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=_DIGEST_BYTES)
        self.rows += 1
        self.digest = (self.digest + int.from_bytes(hashed.digest())) % (1 << 8 * _DIGEST_BYTES)


def _take_alone(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")


async def _must_fit(source: Connection, target: Database) -> None:
    revision = "SELECT version_num FROM alembic_version"
    ours = source.exec_driver_sql(revision).scalar()
    async with target.read() as connection:
        theirs = await connection.scalar(text(revision))
        if ours != theirs:
            raise DatabaseError(
                f"the schema of SQLite is at {ours}, PostgreSQL's at {theirs}; "
                "run `gateway migrate` on both"
            )
        gateways = await connection.scalar(_GATEWAYS)
        if gateways:
            raise InUse("a gateway runs on the target; stop it and try again")
        await _must_be_empty(connection)


async def _must_be_empty(connection: AsyncConnection) -> None:
    names = ", ".join(table.name for table in metadata.sorted_tables)
    await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    await connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
    for table in metadata.sorted_tables:
        rows = exists().select_from(table)
        if table is trail_heads:
            rows = rows.where(trail_heads.c.number > 0)
        elif table in SEEDED:
            continue
        if await connection.scalar(select(rows)):
            raise NotEmpty(f"the target is not empty: {table.name} has rows")


async def _make_partitions(source: Connection, target: Database, table: Table) -> None:
    """Make the partitions of the days of which there are rows; others stay in the default one."""
    make = text("SELECT ledger_partition(:table, :day)")
    async with target.read() as connection:
        today = (await postings.database_now(connection)).astimezone(UTC).date()
    for day in _days(source, table):
        if day <= today:
            async with target.write() as connection:
                await connection.execute(make, {"table": table.name, "day": day})


def _days(source: Connection, table: Table) -> Iterator[date]:
    (key,) = table.primary_key
    first = source.scalar(select(func.min(key)))
    while first is not None:
        day = datetime.fromtimestamp(made_at_ms(first) / 1000, UTC).date()
        yield day
        midnight = datetime.combine(day + timedelta(days=1), time(), UTC)
        first = source.scalar(select(func.min(key)).where(key >= first_id(midnight)))


async def _copy_all(source: Connection, connection: AsyncConnection) -> dict[str, _Sum]:
    for table in _FOLLOWED:
        await connection.execute(text(f"ALTER TABLE {table.name} DISABLE TRIGGER USER"))
    for table in SEEDED:
        await connection.execute(delete(table))
    sent = {table.name: await _copy(source, connection, table) for table in metadata.sorted_tables}
    for table in _FOLLOWED:
        await connection.execute(text(f"ALTER TABLE {table.name} ENABLE TRIGGER USER"))
    return sent


async def _read_back(connection: AsyncConnection, table: Table) -> _Sum:
    arrived = _Sum()
    query, by_parts = select(*_columns(table)), {"yield_per": _ROWS_AT_ONCE}
    async with connection.stream(query, execution_options=by_parts) as rows:
        async for row in rows:
            arrived.add(tuple(row))
    return arrived


async def _copy(source: Connection, connection: AsyncConnection, table: Table) -> _Sum:
    sent = _Sum()
    columns = _columns(table)
    flags = [at for at, column in enumerate(columns) if isinstance(column.type, Boolean)]

    async def records() -> AsyncIterator[tuple[Any, ...]]:
        found = source.execute(select(*columns), execution_options={"yield_per": _ROWS_AT_ONCE})
        for row in found:
            values = list(row)
            for at in flags:
                values[at] = None if values[at] is None else bool(values[at])
            sent.add(tuple(values))
            yield tuple(values)

    driver: Any = (await connection.get_raw_connection()).driver_connection
    await driver.copy_records_to_table(
        table.name, records=records(), columns=[column.name for column in columns]
    )
    await _go_on_counting(connection, table)
    return sent


def _columns(table: Table) -> Sequence[Column[Any]]:
    """Return the columns that are moved: where rows stand in the target's order, it says itself."""
    return [column for column in table.columns if column is not usage_events.c.position]


async def _go_on_counting(connection: AsyncConnection, table: Table) -> None:
    """Let numbers that PostgreSQL gives out begin after those that are there."""
    column = table.autoincrement_column
    if column is None or column.autoincrement is not True or not isinstance(column.type, Integer):
        return
    sequence = func.pg_get_serial_sequence(table.name, column.name)
    newest = func.max(column)
    await connection.execute(
        select(func.setval(sequence, func.coalesce(newest, 1), newest.is_not(None)))
    )


_GATEWAYS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'gateway-%'"
)
