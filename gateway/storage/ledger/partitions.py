"""Daily partitions: created ahead, and dropped when their retention is over.

Usage, and the roots of its receipts, go by the UTC day. Their ids are UUIDv7, so a range of ids is
a range of time. What comes for a day that has no partition is a stray: it stays in the default
partition until upkeep makes one for it, or until its retention is over.

On PostgreSQL, functions do the work, with bounded arguments, by the database's clock and without
waiting for locks: migrations/sql/0023_sealed_sums.sql. SQLite has no partitions: there old rows are
deleted, which the tables' triggers allow for rows older than 31 days.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Table, delete, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import first_id
from gateway.storage.database import Database
from gateway.storage.ledger import postings, sums
from gateway.storage.tables import leases, receipt_roots, usage_events

log = structlog.get_logger()

_TABLES = (usage_events, receipt_roots)
_AHEAD_DAYS = 7
_AT_ONCE = 50
"""Most partitions of a table that one run creates or drops."""
_TRIES = 3
_TRY_SECONDS = 0.3
_LOCK_NOT_AVAILABLE = "55P03"
_STRAYS_MAX = 1_000
_DAYS_OF_STRAYS = """
SELECT DISTINCT CAST(to_timestamp(
    CAST(CAST('x' || left(replace(CAST({key} AS text), '-', ''), 12) AS bit(48)) AS bigint) / 1000
) AT TIME ZONE 'UTC' AS date)
FROM {table}_rest
WHERE {key} >= ledger_first_id(:oldest) AND {key} < ledger_first_id(:end) LIMIT {most}"""


class Upkept(NamedTuple):
    """What upkeep did."""

    dropped: list[str]
    moved: dict[str, int]
    """Strays that were moved to where they belong, by table."""


async def maintain(database: Database, *, retention_days: int) -> Upkept:
    """Create the next days' partitions, drop those past their retention, and move strays.

    If others hold locks, such as `pg_dump`, the next run continues.
    """
    async with database.read() as connection:
        today = (await postings.database_now(connection)).astimezone(UTC).date()
    oldest = today - timedelta(days=retention_days)
    done = Upkept([], {})
    for table in _TABLES:
        if database.is_sqlite:
            await _delete_old(database, table, oldest)
            continue
        if moved := await _make(database, table, today, oldest):
            done.moved[table.name] = moved
        done.dropped.extend(await _retire(database, table, oldest))
    async with database.write() as connection:
        row, gone = leases.c, _midnight(oldest)
        await connection.execute(
            delete(leases).where(row.state == "closed", row.opened_at < gone, row.expires_at < gone)
        )
        await sums.forget_leases(connection)
    return done


async def strays(connection: AsyncConnection) -> dict[str, int]:
    """Return how many rows default partitions have, by table; 1,000 stands for more."""
    if connection.dialect.name == "sqlite":
        return {table.name: 0 for table in _TABLES}
    return {
        table.name: await connection.scalar(
            text(f"SELECT count(*) FROM (SELECT FROM {table.name}_rest LIMIT {_STRAYS_MAX}) seen")
        )
        or 0
        for table in _TABLES
    }


async def _delete_old(database: Database, table: Table, oldest: date) -> None:
    (key,) = table.primary_key
    before = first_id(_midnight(oldest))
    async with database.write() as connection:
        if table is usage_events:
            await sums.add_gone(connection, before)
        await connection.execute(delete(table).where(key < before))


async def _make(database: Database, table: Table, today: date, oldest: date) -> int:
    """Create missing partitions, including those of strays; return how many strays moved."""
    (key,) = table.primary_key
    end = today + timedelta(days=_AHEAD_DAYS + 1)
    query = text(_DAYS_OF_STRAYS.format(table=table.name, key=key.name, most=_AT_ONCE))
    async with database.read() as connection:
        found = await connection.scalars(
            query, {"oldest": _midnight(oldest), "end": _midnight(end)}
        )
        days = {today + timedelta(days=ahead) for ahead in range(_AHEAD_DAYS + 1)} | set(found)
        inherits = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = "
                        "CAST(:table AS regclass)")  # fmt: skip
        known = set(await connection.scalars(inherits, {"table": table.name}))
    missing = [day for day in sorted(days) if f"{table.name}_{day:%Y%m%d}" not in known]
    moved = 0
    for day in missing[:_AT_ONCE]:
        rows = await _attempt(database, "ledger_partition", table, day)
        if rows is None:  # whoever holds the locks holds them for the other days too
            break
        moved += rows
    return moved


async def _retire(database: Database, table: Table, oldest: date) -> list[str]:
    """Drop what is older than a day; return the names of the partitions."""
    dropped: list[str] = []
    while len(dropped) < _AT_ONCE:
        name = await _attempt(database, "ledger_retire", table, oldest)
        if name is None:
            break
        dropped.append(name)
    return dropped


async def _attempt(database: Database, function: str, table: Table, day: date) -> Any:
    """Call a function of the ledger until it gets its locks; None if it never did."""
    call = text(f"SELECT {function}(:table, :day)")
    for attempt in range(_TRIES):
        await asyncio.sleep(_TRY_SECONDS * attempt)
        try:
            async with database.write() as connection:
                return await connection.scalar(call, {"table": table.name, "day": day})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
    log.warning("upkeep is put off: others hold locks", what=function, table=table.name, day=day)
    return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
