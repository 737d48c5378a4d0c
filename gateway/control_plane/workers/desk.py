"""A gateway's side of the commands to workers: it obeys them, and reports its workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import structlog
from sqlalchemy import delete, insert, select

from gateway import wall
from gateway.control_plane.workers.commands import FRESH_SECONDS, RENEW_SECONDS, Wish
from gateway.control_plane.workers.quarantines import QuarantineLog
from gateway.data_plane.routing.router import Router
from gateway.snapshots import WorkerState
from gateway.storage.database import Database, DatabaseAway
from gateway.storage.tables import pool_reports, worker_orders, worker_reports

log = structlog.get_logger()

_BACKLOG_SECONDS_MAX = 86_400.0
"""The longest backlog that is reported: without a ready worker there is no end to it."""


class WorkerDesk:
    """Obeys orders and writes reports: `run` is a job, and `stop` ends it."""

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

    async def stop(self) -> None:
        """Take the reports back: this gateway has no workers any more."""
        try:
            async with self._database.write() as connection:
                for table in (worker_reports, pool_reports):
                    mine = table.c.gateway_id == self._gateway_id
                    await connection.execute(delete(table).where(mine))
        except DatabaseAway as error:  # they go out of date in seconds
            log.warning("reports of workers stay", reason=str(error))

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
        now = wall.now()
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
