"""Quarantines are written down once, with what the worker looked like."""

import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import update

from gateway.control_plane.workers import quarantines
from gateway.control_plane.workers.quarantines import PastQuarantine, QuarantineLog
from gateway.identifiers import new_id
from gateway.snapshots import WorkerChange, WorkerState
from gateway.storage.database import Database
from gateway.storage.tables import worker_quarantines
from testing.workers import a_view

URL = "http://a:1"

pytestmark = pytest.mark.sqlite


async def all_of(database: Database) -> list[PastQuarantine]:
    async with database.read() as connection:
        return await quarantines.recent(connection, limit=9)


def seen(*changes: tuple[float, WorkerState, str]):
    """A worker of one model with changes so many seconds ago."""
    now = time.monotonic()
    history = tuple(WorkerChange(now - ago, state, why) for ago, state, why in changes)
    return [("m", msgspec.structs.replace(a_view(URL), history=history))]


async def test_a_quarantine_and_its_end(database: Database):
    log = QuarantineLog(database, new_id())
    out = (20.0, WorkerState.QUARANTINED, "wrong vectors")
    first = seen((30.0, WorkerState.READY, "proved"), out)
    await log.write(first)
    await log.write(first)  # nothing new
    (row,) = await all_of(database)
    assert (row.url, row.times, row.reason, row.ended_at) == (URL, 1, "wrong vectors", None)
    assert timedelta(seconds=19) < datetime.now(UTC) - row.began_at < timedelta(seconds=60)
    assert [(round(one.at), one.reason) for one in row.evidence.history] == [
        (10, "proved"),
        (0, "wrong vectors"),
    ]
    view = first[0][1]
    back = WorkerChange(time.monotonic() - 5, WorkerState.READY, "proved")
    await log.write([("m", msgspec.structs.replace(view, history=(*view.history, back)))])
    (row,) = await all_of(database)
    assert row.ended_at
    assert datetime.now(UTC) - row.ended_at < timedelta(seconds=60)


async def test_one_that_flaps_adds_to_its_row(database: Database, monkeypatch: pytest.MonkeyPatch):
    log = QuarantineLog(database, new_id())
    out, back = WorkerState.QUARANTINED, WorkerState.READY
    flapping = ((40.0, out, "a"), (30.0, back, "b"), (20.0, out, "c"), (10.0, back, "d"))
    await log.write(seen(*flapping, (5.0, out, "e")))
    (row,) = await all_of(database)
    assert (row.times, row.reason, row.ended_at) == (3, "e", None)
    monkeypatch.setattr(quarantines, "ONE_ROW_SECONDS", 1.0)
    await log.write(seen((0.0, out, "f")))
    assert [row.reason for row in await all_of(database)] == ["f", "e"]


async def test_a_worker_that_leaves_is_not_in_quarantine(database: Database):
    log = QuarantineLog(database, new_id())
    await log.write(seen((1.0, WorkerState.QUARANTINED, "gone")))
    await log.write([])
    (row,) = await all_of(database)
    assert row.ended_at


async def test_old_ones_are_forgotten(database: Database):
    log = QuarantineLog(database, new_id())
    await log.write(seen((1.0, WorkerState.QUARANTINED, "old")))
    async with database.write() as connection:
        assert await quarantines.forget_old(connection) == 0
        old = datetime.now(UTC) - quarantines.KEPT - timedelta(hours=1)
        await connection.execute(update(worker_quarantines).values(began_at=old))
        assert await quarantines.forget_old(connection) == 1
