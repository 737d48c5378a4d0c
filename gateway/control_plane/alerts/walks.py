"""Walks over many rows in batches, which one process at a time continues, through any crash.

A walk's row says when the next process may go on (`due_at`), where the walk stands (`after`), when
it began, and until when the walks before have seen everything. A process that dies leaves its claim
to end by itself; the next one continues after the last batch that was finished.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database, insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import alert_walks

CLAIM = timedelta(minutes=2)
"""How long a process keeps a walk to itself without finishing a batch: longer than a job runs."""


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed walk."""

    name: str
    after: str
    """The id after which it goes on; empty at its beginning."""
    began_at: datetime
    read_until: datetime
    """What happened before was seen by an earlier walk, or is older than the first one."""


async def claim(database: Database, name: str) -> Walk | None:
    """Begin a walk or go on with it, unless it is another's, or not its time yet."""
    async with database.read() as connection:  # no write lock if there is nothing to do
        row = (await connection.execute(_row(name))).one_or_none()
        now = await database_now(connection)
    if row is not None and (row.due_at is None or row.due_at > now):
        return None
    async with database.write() as connection:
        if row is None:
            await _create(connection, name, now)
        row = (
            await connection.execute(
                update(alert_walks)
                .where(alert_walks.c.name == name, alert_walks.c.due_at <= now)
                .values(due_at=now + CLAIM)
                .returning(alert_walks)
            )
        ).one_or_none()
        if row is None:
            return None
        if row.after:
            began_at = row.began_at
        else:
            began_at = now
            await _set(connection, name, began_at=now)
    return Walk(name=name, after=row.after, began_at=began_at, read_until=row.read_until)


async def advance(database: Database, name: str, after: str) -> None:
    """Note that everything up to this id is done."""
    async with database.write() as connection:
        now = await database_now(connection)
        await _set(connection, name, after=after, due_at=now + CLAIM)


async def pause(database: Database, name: str) -> None:
    """Let any process go on with it."""
    async with database.write() as connection:
        await _set(connection, name, due_at=await database_now(connection))


async def finish(database: Database, walk: Walk, *, again_seconds: float | None) -> None:
    """End a walk; the next one begins after so many seconds, or never."""
    async with database.write() as connection:
        now = await database_now(connection)
        due_at = None if again_seconds is None else now + timedelta(seconds=again_seconds)
        await _set(connection, walk.name, after="", read_until=walk.began_at, due_at=due_at)


async def is_over(connection: AsyncConnection, name: str) -> bool:
    """Tell whether a walk has ended for good."""
    row = (await connection.execute(_row(name))).one_or_none()
    return row is not None and row.due_at is None


def _row(name: str) -> Select[Any]:
    return select(alert_walks).where(alert_walks.c.name == name)


async def _create(connection: AsyncConnection, name: str, now: datetime) -> None:
    await connection.execute(
        insert_into(connection, alert_walks)
        .values(name=name, after="", began_at=now, read_until=now, due_at=now)
        .on_conflict_do_nothing()
    )


async def _set(connection: AsyncConnection, name: str, **values: object) -> None:
    await connection.execute(update(alert_walks).where(alert_walks.c.name == name).values(**values))
