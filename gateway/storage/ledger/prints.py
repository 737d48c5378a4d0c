"""Prints of charged requests, which make identical requests free: on SQLite, and their upkeep.

A print is what a key's identical requests have in common. It is written by a request that has an
Idempotency-Key, which pays for all others with that print; and for a request that was charged
although nobody received its response, which pays for one more. Other requests write nothing here.

A charged request stays charged, because a tick may come again after another request's print was
written. A refused request has paid for nothing: its print is removed with it.

On PostgreSQL `ledger_prints` does the same: migrations/sql/0034_refused_prints.sql.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.messages import UndeliveredLine, UsageLine
from gateway.storage.database import Database
from gateway.storage.ledger import postings
from gateway.storage.ledger.inline import as_json, instant
from gateway.storage.tables import paid_prints

_FORGET_AT_ONCE = 10_000


def find_free(
    connection: sqlite3.Connection,
    lines: Sequence[UsageLine],
    undelivered: Sequence[UndeliveredLine],
    at: datetime,
) -> dict[str, str]:
    """Return which requests of a tick are free, and what was charged instead; keep its prints."""
    _keep(connection, lines, undelivered, at)
    now = instant(at)
    if not connection.execute(_ANY, (now,)).fetchone()[0]:
        return {}
    asked = as_json([(line.request_id, line.key_id, line.print) for line in lines if line.print])
    free: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for request_id, original_id, is_once, used_by, *print_ in connection.execute(
        _FOUND, (asked, now)
    ).fetchall():
        is_first = used_by is None and tuple(print_) not in taken
        if is_first:
            taken.add(tuple(print_))
            connection.execute(_USE, (request_id, *print_))
        if is_first or not is_once or used_by == request_id:
            free[request_id] = original_id
    return free


def drop_refused(connection: sqlite3.Connection, lines: Sequence[UsageLine]) -> None:
    """Remove the prints of requests that were refused."""
    connection.executemany(_DROP, [(line.key_id, line.request_id) for line in lines])


async def take_back(connection: AsyncConnection, line: UsageLine) -> bool:
    """Remove the prints of a charged request that will be credited back: it makes nobody free.

    Returns False if it already made a request free.
    """
    own = (paid_prints.c.key_id == line.key_id) & (paid_prints.c.request_id == line.request_id)
    found = await connection.scalars(select(paid_prints.c.used_by).where(own).with_for_update())
    if any(used_by is not None for used_by in found):
        return False
    await connection.execute(delete(paid_prints).where(own))
    return True


async def forget(database: Database) -> int:
    """Remove prints that have expired, and return how many."""
    async with database.write() as connection:
        now = await postings.database_now(connection)
        some = (
            select(paid_prints.c.key_id, paid_prints.c.print)
            .where(paid_prints.c.expires_at <= now)
            .order_by(paid_prints.c.expires_at)
            .limit(_FORGET_AT_ONCE)
        )
        gone = await connection.execute(
            delete(paid_prints).where(
                paid_prints.c.expires_at <= now,  # still: it may be charged anew meanwhile
                tuple_(paid_prints.c.key_id, paid_prints.c.print).in_(some),
            )
        )
        return gone.rowcount


def _keep(
    connection: sqlite3.Connection,
    lines: Sequence[UsageLine],
    undelivered: Sequence[UndeliveredLine],
    at: datetime,
) -> None:
    rows = [
        (line.key_id, line.print, line.request_id, 0, _until(at, line.print_seconds))
        for line in lines
        if line.print and line.print_seconds
    ]
    rows += [
        (line.key_id, line.print, line.request_id, 1, _until(at, line.seconds))
        for line in undelivered
    ]
    if rows:
        connection.execute(_KEEP, (as_json(rows), instant(at)))


def _until(at: datetime, seconds: float) -> str:
    return instant(at + timedelta(seconds=seconds))


_ANY = "SELECT EXISTS (SELECT 1 FROM paid_prints WHERE expires_at > ?)"
_KEEP = """
INSERT INTO paid_prints (key_id, print, request_id, is_once, expires_at)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]')
FROM json_each(?) WHERE true
ON CONFLICT (key_id, print) DO UPDATE SET request_id = excluded.request_id,
    is_once = excluded.is_once, used_by = NULL, expires_at = excluded.expires_at
WHERE paid_prints.expires_at <= ?
    OR (paid_prints.is_once AND paid_prints.used_by IS NOT NULL
        AND paid_prints.request_id <> excluded.request_id)
"""
_FOUND = """
SELECT json_extract(value, '$[0]') AS request, p.request_id, p.is_once, p.used_by, p.key_id, p.print
FROM json_each(?) JOIN paid_prints p
    ON p.key_id = json_extract(value, '$[1]') AND p.print = json_extract(value, '$[2]')
WHERE p.expires_at > ? AND p.request_id <> request
    AND (p.is_once = 0 OR p.used_by IS NULL OR p.used_by = request)
    AND NOT EXISTS (SELECT 1 FROM usage_events e WHERE e.request_id = request
        AND e.charged_nanos > 0)
ORDER BY request
"""
_DROP = "DELETE FROM paid_prints WHERE key_id = ? AND request_id = ?"
_USE = "UPDATE paid_prints SET used_by = ? WHERE key_id = ? AND print = ?"
