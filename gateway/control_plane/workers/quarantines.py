"""Quarantines of workers as each gateway judged them, with their evidence, kept for a month.

A gateway remembers few changes of state, and forgets them when it ends. So it writes each
quarantine down: why, and what the worker looked like. A worker that flaps adds to its last row
instead of a new one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.identifiers import new_id
from gateway.snapshots import WorkerChange, WorkerState, WorkerView
from gateway.storage.database import Database
from gateway.storage.tables import worker_quarantines

KEPT = timedelta(days=30)
ONE_ROW_SECONDS = 300.0
"""Quarantines of one worker within this of one another are one row."""
_FORGOTTEN_AT_ONCE = 10_000

Place = tuple[str, str]
"""A model and a URL."""


class PastQuarantine(msgspec.Struct, frozen=True, kw_only=True):
    """One row: `times` quarantines in a row of one worker in one gateway."""

    id: str
    gateway_id: str
    model_id: str
    url: str
    began_at: datetime
    last_at: datetime
    times: int
    reason: str
    evidence: WorkerView
    """The worker then; in its history, `at` is in seconds before the last quarantine."""
    ended_at: datetime | None


class _Row(msgspec.Struct):
    id: str
    at: float
    times: int
    is_open: bool = True


class QuarantineLog:
    """One gateway's: `write` notes what is new in its workers' histories."""

    def __init__(self, database: Database, gateway_id: str) -> None:
        self._database = database
        self._gateway_id = gateway_id
        self._read: dict[Place, float] = {}
        """Until when each worker's history has been read, by the monotonic clock."""
        self._rows: dict[Place, _Row] = {}

    async def write(self, found: Sequence[tuple[str, WorkerView]]) -> None:
        """Write down the quarantines that began or ended since the last time."""
        news = [
            ((model, view.url), view, change)
            for model, view in found
            for change in view.history
            if change.at > self._read.get((model, view.url), float("-inf"))
        ]
        here = {(model, view.url) for model, view in found}
        gone = [place for place, row in self._rows.items() if row.is_open and place not in here]
        told = [
            one for one in news if one[2].state is WorkerState.QUARANTINED or one[0] in self._rows
        ]
        if told or gone:
            async with self._database.write() as connection:
                for place, view, change in told:
                    await self._note(connection, place, view, change)
                for place in gone:
                    await self._end(connection, place, time.monotonic())
        self._read = {place: at for place, at in self._read.items() if place in here}
        self._read |= {place: change.at for place, _, change in news}

    async def _note(
        self, connection: AsyncConnection, place: Place, view: WorkerView, change: WorkerChange
    ) -> None:
        if change.state is not WorkerState.QUARANTINED:
            await self._end(connection, place, change.at)
            return
        values: dict[str, Any] = {
            "last_at": _moment(change.at),
            "reason": change.reason,
            "evidence": msgspec.json.encode(_as_of(view, change.at)).decode(),
            "ended_at": None,
        }
        row = self._rows.get(place)
        if row is not None and change.at - row.at < ONE_ROW_SECONDS:
            row = _Row(row.id, change.at, row.times + 1)
            mine = worker_quarantines.c.id == row.id
            await connection.execute(
                update(worker_quarantines).where(mine).values(times=row.times, **values)
            )
        else:
            row = _Row(new_id(), change.at, 1)
            model, url = place
            await connection.execute(
                insert(worker_quarantines).values(
                    id=row.id,
                    gateway_id=self._gateway_id,
                    model_id=model,
                    url=url,
                    began_at=values["last_at"],
                    times=1,
                    **values,
                )
            )
        self._rows[place] = row

    async def _end(self, connection: AsyncConnection, place: Place, at: float) -> None:
        row = self._rows[place]
        if not row.is_open:
            return
        mine = worker_quarantines.c.id == row.id
        await connection.execute(
            update(worker_quarantines).where(mine).values(ended_at=_moment(at))
        )
        row.is_open = False


async def recent(
    connection: AsyncConnection, *, before: str | None = None, limit: int
) -> list[PastQuarantine]:
    """Return the newest quarantines, before one of them."""
    query = select(worker_quarantines).order_by(worker_quarantines.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(worker_quarantines.c.id < before)
    return [
        PastQuarantine(**{**row, "evidence": msgspec.json.decode(row["evidence"], type=WorkerView)})
        for row in (await connection.execute(query)).mappings()
    ]


async def forget_old(connection: AsyncConnection) -> int:
    """Remove some that are past their time; return how many."""
    old = worker_quarantines.c.began_at < wall.now() - KEPT
    some = select(worker_quarantines.c.id).where(old).limit(_FORGOTTEN_AT_ONCE)
    done = await connection.execute(
        delete(worker_quarantines).where(worker_quarantines.c.id.in_(some))
    )
    return done.rowcount


def _moment(at: float) -> datetime:
    """Return the time of a moment of the monotonic clock."""
    return wall.now() - timedelta(seconds=time.monotonic() - at)


def _as_of(view: WorkerView, at: float) -> WorkerView:
    history = tuple(one._replace(at=at - one.at) for one in view.history if one.at <= at)
    return msgspec.structs.replace(view, history=history)
