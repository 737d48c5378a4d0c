"""Demand events: old ones become monthly sums, within bounds."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gateway.app import upkeep
from gateway.app.process import Process
from gateway.control_plane.demand import events
from gateway.storage.database import Database
from gateway.storage.tables import (
    demand_events,
    demand_months,
)
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import rows


async def test_old_events_become_sums(seeded: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "_AT_ONCE", 3)
    now = datetime.now(UTC)
    async with seeded.write() as connection:
        for days in (0, 91, 93, 94, 200, 230):
            await events.record(connection, events.Event("view", STELLA, count=days + 1))
            await connection.execute(
                update(demand_events)
                .where(demand_events.c.count == days + 1)
                .values(created_at=now - timedelta(days=days))
            )
        before = await events.funnel(connection, STELLA)
    assert before == {"view": 1 + 92 + 94 + 95 + 201 + 231}

    async def fold() -> None:
        async with seeded.write() as connection:
            await events.fold_old(connection, 92)

    for _ in range(2):
        await asyncio.gather(fold(), fold())
    left = await rows(seeded, select(demand_events.c.count))
    assert sorted(row.count for row in left) == [1, 92]
    assert 2 <= len(await rows(seeded, select(demand_months))) <= 4
    async with seeded.read() as connection:
        assert await events.funnel(connection, STELLA) == before


async def test_an_hour_folds_all_that_is_old_and_no_more_than_its_bound(
    gateway: Process, monkeypatch: pytest.MonkeyPatch
):
    """However small a part is: after a month without it, one turn of the job catches up."""
    monkeypatch.setattr(events, "_AT_ONCE", 3)
    database = gateway.core.database

    async def happen(count: int, days: int) -> None:
        at = datetime.now(UTC) - timedelta(days=days)
        async with database.write() as connection:
            for _ in range(count):
                await events.record(connection, events.Event("view", STELLA))
            fresh = demand_events.c.created_at > datetime.now(UTC) - timedelta(hours=1)
            await connection.execute(update(demand_events).where(fresh).values(created_at=at))

    await happen(10, days=93)
    await happen(2, days=91)
    await upkeep.forget_old(gateway.core.database, gateway.core.settings)
    assert len(await rows(database, select(demand_events.c.id))) == 2
    await happen(10, days=93)
    monkeypatch.setattr(upkeep, "_FOLDS_MAX", 2)
    await upkeep.forget_old(gateway.core.database, gateway.core.settings)
    assert len(await rows(database, select(demand_events.c.id))) == 2 + 10 - 2 * 3
