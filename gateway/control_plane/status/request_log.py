"""The latest requests of each organization, for its console: written down, and forgotten again.

It is what the data plane kept of them, which is not all, and nothing of what was in them. An
organization has at most about `rows_max` rows, and none for longer than the retention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.recent_requests import RecentRequests, RequestEntry, Rooms
from gateway.identifiers import made_at_ms
from gateway.storage.database import Database, in_parts, insert_into
from gateway.storage.tables import request_log

_AT_ONCE = 2_000
"""Rows that one statement removes."""
_TRIM_PART = 10
"""An organization is trimmed when this process has added such a part of what it may have."""
_COUNTED_MAX = 10_000
"""Organizations whose rows are counted until they are trimmed."""


class RequestLog:
    """Writes down what the data plane kept; `flush` is a job."""

    def __init__(self, database: Database, recent: RecentRequests, *, rows_max: int) -> None:
        self._database = database
        self._recent = recent
        self._rows_max = rows_max
        self._added: Counter[str] = Counter()

    async def flush(self) -> None:
        """Write down what was kept; on an error it is kept for the next time."""
        with self._recent.draining() as rooms:
            if not rooms:
                return
            async with self._database.write() as connection:
                # again, if it was not known whether a commit had gone well
                added = insert_into(connection, request_log).on_conflict_do_nothing()
                for part in in_parts(_rows(rooms)):
                    await connection.execute(added, part)
        written = Counter[str]()
        for (organization_id, _), room in rooms.items():
            written[organization_id] += len(room.entries)
        await self._trim(written)

    async def _trim(self, added: Counter[str]) -> None:
        """Remove the oldest rows of who has added many."""
        self._added += added
        for organization_id in added:
            if self._added[organization_id] >= max(self._rows_max // _TRIM_PART, 1):
                async with self._database.write() as connection:
                    await trim(connection, organization_id, self._rows_max)
                del self._added[organization_id]
        if len(self._added) > _COUNTED_MAX:
            self._added.clear()


async def trim(connection: AsyncConnection, organization_id: str, rows_max: int) -> None:
    """Remove an organization's oldest rows, beyond its newest `rows_max`."""
    log = request_log.c
    over = (
        select(log.request_id)
        .where(log.organization_id == organization_id)
        .order_by(log.request_id.desc())
        .offset(rows_max)
        .limit(_AT_ONCE)
    )
    await connection.execute(
        delete(request_log).where(log.organization_id == organization_id, log.request_id.in_(over))
    )


async def forget_old(connection: AsyncConnection, days: int) -> int:
    """Remove some rows older than `days`; return how many."""
    log = request_log.c
    old = (
        select(log.organization_id, log.request_id)
        .where(log.created_at < wall.now() - timedelta(days=days))
        .limit(_AT_ONCE)
    )
    named = tuple_(log.organization_id, log.request_id)
    return (await connection.execute(delete(request_log).where(named.in_(old)))).rowcount


def _rows(rooms: Rooms) -> Iterator[dict[str, Any]]:
    """Yield the rows. No process writes another's requests, so none waits for another."""
    for room in rooms.values():
        missed = room.missed
        for entry in room.entries:
            yield _row(entry, missed)
            missed = 0


def _row(entry: RequestEntry, missed: int) -> dict[str, Any]:
    return {
        "organization_id": entry.organization_id,
        "request_id": entry.request_id,
        "key_id": entry.key_id,
        "model_id": entry.model_id,
        "created_at": datetime.fromtimestamp(made_at_ms(entry.request_id) / 1000, UTC),
        "status": entry.status,
        "code": entry.code,
        "latency_ms": round(entry.seconds * 1000),
        "tokens": entry.tokens,
        "original_id": entry.original_id,
        "missed": missed,
    }
