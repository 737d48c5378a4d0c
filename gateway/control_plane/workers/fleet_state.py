"""The workers of all gateways put together: what each pool can do now, and who is in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.workers import commands
from gateway.control_plane.workers.commands import FRESH_SECONDS, Wish, WorkerReport
from gateway.snapshots import WorkerState
from gateway.storage.tables import pool_reports, total, worker_orders

_WORST_FIRST = (
    WorkerState.QUARANTINED,
    WorkerState.DRAINING,
    WorkerState.DISCOVERED,
    WorkerState.WARMING,
    WorkerState.CALIBRATING,
    WorkerState.READY,
)


class FleetWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker over all gateways: the worst state of any, and the sum of what they sent it."""

    model: str
    url: str
    state: WorkerState
    reason: str
    revision: str
    gateways: int
    ready_in: int
    """How many of these gateways have it ready."""
    slowdown: float
    tokens_in_flight: int
    tokens_per_second: float
    """As the gateway sees it that thinks least of it."""
    proved_seconds: float | None
    """Since it last answered a canary well; None: never."""
    wish: Wish
    """What operators want of it."""


class PoolState(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of one model, and what waits for them."""

    model: str
    workers: list[FleetWorker]
    waiting_tokens: int
    backlog_ms: int

    @property
    def size(self) -> int:
        """Workers, ready or not."""
        return len(self.workers)

    @property
    def in_flight(self) -> int:
        """Tokens that the workers have."""
        return sum(worker.tokens_in_flight for worker in self.workers)

    @property
    def ready(self) -> int:
        """Workers that every gateway has ready."""
        return sum(worker.state is WorkerState.READY for worker in self.workers)

    @property
    def tokens_per_second(self) -> float:
        """What the ready workers can do together."""
        return self.without("")

    def without(self, url: str) -> float:
        """Return what they can do when one of them is drained, in tokens a second."""
        return sum(
            worker.tokens_per_second
            for worker in self.workers
            if worker.state is WorkerState.READY and worker.url != url
        )


async def pools(connection: AsyncConnection) -> list[PoolState]:
    """Return all pools that running gateways report, by model, in three statements."""
    reports = await commands.reports(connection)
    wishes = {
        (row.model_id, row.url): row.wish
        for row in await connection.execute(
            select(worker_orders.c.model_id, worker_orders.c.url, worker_orders.c.wish)
        )
    }
    fresh = wall.now() - timedelta(seconds=FRESH_SECONDS)
    waiting = {
        row[0]: (row[1], row[2])
        for row in await connection.execute(
            select(
                pool_reports.c.model_id,
                total(pool_reports.c.waiting_tokens),
                func.max(pool_reports.c.backlog_ms),
            )
            .where(pool_reports.c.seen_at >= fresh)
            .group_by(pool_reports.c.model_id)
        )
    }
    grouped: dict[str, dict[str, list[WorkerReport]]] = {}
    for report in reports:
        grouped.setdefault(report.model, {}).setdefault(report.worker.url, []).append(report)
    return [
        PoolState(
            model=model,
            workers=[
                _worker(seen, wishes.get((model, url), "serve")) for url, seen in by_url.items()
            ],
            waiting_tokens=waiting.get(model, (0, 0))[0],
            backlog_ms=waiting.get(model, (0, 0))[1],
        )
        for model, by_url in grouped.items()
    ]


def _worker(reports: Sequence[WorkerReport], wish: Wish) -> FleetWorker:
    views = [report.worker for report in reports]
    worst = min(views, key=lambda view: _WORST_FIRST.index(view.state))
    proved = [view.proved_seconds for view in views if view.proved_seconds is not None]
    return FleetWorker(
        model=reports[0].model,
        url=worst.url,
        state=worst.state,
        reason=worst.reason,
        revision=worst.revision,
        gateways=len(views),
        ready_in=sum(view.state is WorkerState.READY for view in views),
        slowdown=max(view.slowdown for view in views),
        tokens_in_flight=sum(view.tokens_in_flight for view in views),
        tokens_per_second=min(view.tokens_per_second for view in views),
        proved_seconds=min(proved, default=None),
        wish=wish,
    )
