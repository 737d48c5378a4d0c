"""Commands from operators to all running gateways, and their reports, in two tables.

An order holds the wanted state of a worker until it is replaced, so a gateway that starts later or
rediscovers the worker obeys it too. Each gateway reports its workers; a report that is not renewed
belongs to a gateway that is gone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.snapshots import WorkerView
from gateway.storage.tables import worker_orders, worker_reports

Wish = Literal["serve", "drain"]

RENEW_SECONDS = 5.0
"""How often a gateway renews an unchanged report."""
FRESH_SECONDS = 15.0
"""How old a report may be to count."""


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway's view of one worker."""

    gateway_id: str
    model: str
    worker: WorkerView
    seen_at: datetime


async def reports(connection: AsyncConnection) -> list[WorkerReport]:
    """Return the reports of all running gateways."""
    fresh = wall.now() - timedelta(seconds=FRESH_SECONDS)
    found = await connection.execute(
        select(worker_reports)
        .where(worker_reports.c.seen_at >= fresh)
        .order_by(worker_reports.c.model_id, worker_reports.c.url, worker_reports.c.gateway_id)
    )
    return [
        WorkerReport(
            gateway_id=row.gateway_id,
            model=row.model_id,
            worker=msgspec.json.decode(row.view, type=WorkerView),
            seen_at=row.seen_at,
        )
        for row in found
    ]


async def order(
    connection: AsyncConnection, model: str, url: str, *, wish: Wish | None = None
) -> None:
    """Set a worker's wanted state; without one, have it examined now."""
    place = (worker_orders.c.model_id == model) & (worker_orders.c.url == url)
    change = {"wish": wish} if wish else {"checks": worker_orders.c.checks + 1}
    now = wall.now()
    changed = await connection.execute(
        update(worker_orders).where(place).values(**change, changed_at=now)
    )
    if not changed.rowcount:
        await connection.execute(
            insert(worker_orders).values(
                model_id=model,
                url=url,
                wish=wish or "serve",
                checks=0 if wish else 1,
                changed_at=now,
            )
        )
