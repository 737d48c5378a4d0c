"""Commands from operators to all running gateways, and their reports, in two tables.

An order holds the wanted state of a worker until it is replaced, so a gateway that starts later or
rediscovers the worker obeys it too. Each gateway reports its workers; a report that is not renewed
belongs to a gateway that is gone. `asked` asks a trusted worker once for what becomes the golden
vectors of its revision.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from backends import registry
from backends.adapters.trust import Trust
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.workers.quarantines import QuarantineLog
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.quote import quote
from gateway.data_plane.routing.examination import Examiner
from gateway.data_plane.routing.fleet import spec_of
from gateway.data_plane.routing.router import Router
from gateway.errors import NotFound
from gateway.snapshots import GoldenRow, ModelSnapshot, WorkerState, WorkerView
from gateway.storage.database import Database
from gateway.storage.tables import pool_reports, worker_orders, worker_reports

Wish = Literal["serve", "drain"]

RENEW_SECONDS = 5.0
"""How often a gateway renews an unchanged report."""
FRESH_SECONDS = 15.0
"""How old a report may be to count."""
_BACKLOG_SECONDS_MAX = 86_400.0
"""The longest backlog that is reported: without a ready worker there is no end to it."""


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway's view of one worker."""

    gateway_id: str
    model: str
    worker: WorkerView
    seen_at: datetime


class WorkerDesk:
    """A gateway's side: obeys orders and writes reports; `run` is a job."""

    def __init__(self, database: Database, router: Router, gateway_id: str) -> None:
        self._database = database
        self._router = router
        self._gateway_id = gateway_id
        self._quarantines = QuarantineLog(database, gateway_id)
        self._checks: dict[tuple[str, str], int] | None = None
        self._written: Sequence[tuple[object, ...]] = ()
        self._written_at = 0.0

    async def run(self) -> None:
        """Obey new orders, then report."""
        async with self._database.read() as connection:
            orders = (await connection.execute(select(worker_orders))).all()
        seen = {(order.model_id, order.url): order.checks for order in orders}
        checks = seen if self._checks is None else self._checks
        for order in orders:
            check = order.checks > checks.get((order.model_id, order.url), 0)
            self._obey(order.model_id, order.url, order.wish, check=check)
        self._checks = seen
        await self._report()

    def _obey(self, model: str, url: str, wish: Wish, *, check: bool) -> None:
        worker = self._router.worker(model, url)
        if worker is None:
            return
        pool = self._router.pools[model]
        draining = worker.state is WorkerState.DRAINING
        if wish == "drain" and not draining:
            pool.drain(url)
        elif wish == "serve" and draining:
            pool.undrain(url)
        elif check:
            pool.check(url)

    async def _report(self) -> None:
        pools = self._router.pools.items()
        found = [(model, view) for model, pool in pools for view in pool.workers()]
        await self._quarantines.write(found)
        told = [(model, v.url, v.state, v.reason, v.examinations) for model, v in found]
        due = time.monotonic() - self._written_at >= RENEW_SECONDS
        if not due and told == self._written:
            return
        now = datetime.now(UTC)
        queues = [
            {
                "gateway_id": self._gateway_id,
                "model_id": model,
                "waiting_tokens": pool.core.queue.tokens,
                "backlog_ms": round(min(pool.core.backlog_seconds, _BACKLOG_SECONDS_MAX) * 1_000),
                "seen_at": now,
            }
            for model, pool in pools
            if pool.core.workers
        ]
        dead = now - timedelta(seconds=4 * FRESH_SECONDS)
        async with self._database.write() as connection:
            for table in (worker_reports, pool_reports):
                mine = table.c.gateway_id == self._gateway_id
                await connection.execute(delete(table).where(mine | (table.c.seen_at < dead)))
            if queues:
                await connection.execute(insert(pool_reports), queues)
            for model, view in found:
                await connection.execute(
                    insert(worker_reports).values(
                        gateway_id=self._gateway_id,
                        model_id=model,
                        url=view.url,
                        view=msgspec.json.encode(view).decode(),
                        seen_at=now,
                    )
                )
        self._written, self._written_at = told, time.monotonic()


async def reports(connection: AsyncConnection) -> list[WorkerReport]:
    """Return the reports of all running gateways."""
    fresh = datetime.now(UTC) - timedelta(seconds=FRESH_SECONDS)
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
    now = datetime.now(UTC)
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


_SECONDS = 60.0


async def asked(
    database: Database, model: str, url: str, trust: Trust
) -> tuple[str, list[GoldenRow]]:
    """Ask a worker for its answers to the golden texts; return its revision and the rows.

    Raises UnknownBackend, NotFound, or BackendError if the worker is not ready or does not fit.
    """
    async with database.read() as connection:
        known = (await catalog.snapshot(connection)).models.get(model)
    if known is None:
        raise NotFound(f"There is no model {model!r}; see gateway models list.")
    backend = registry.connect(url, trust)
    # accept a new revision: it is what gets pinned
    spec = msgspec.structs.replace(spec_of(known), golden={})
    examiner = Examiner(spec)
    try:
        info = await examiner.handshake(backend, timeout_seconds=_SECONDS)
        texts = _ids_of_texts(known)
        rows = await examiner.record(backend, info, texts, timeout_seconds=_SECONDS)
    finally:
        await backend.close()
    return info.revision, rows


def _ids_of_texts(model: ModelSnapshot) -> list[Any]:
    return [row.ids for row in quote(tokens.load(), model, golden.TEXTS).rows.rows]
