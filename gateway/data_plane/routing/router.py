"""The router: one pool for each model, and the two steps of a request.

The caller reserves credits between the steps:

    router.admit(model, offer)          # Shed, NoWorker: nothing was reserved
    reservation = reserve(...)
    try:
        vectors = await router.dispatch(model, rows, offer)
    except BaseException:
        release(reservation)            # nothing is ever charged
        raise

`admit` reserves no place in the queue, so none can leak. Requests between the two steps may exceed
the queue's bounds; the API's own limit on concurrent requests bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from backends.protocol import TokenRow
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.outcomes import (
    AllAttemptsFailed,
    FatalInput,
    RowsRefused,
    UnknownModel,
)
from gateway.data_plane.routing.pool import Connect, LoopLag, Pool
from gateway.data_plane.routing.request import Progress
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import WorkerChange, WorkerState, WorkerStatus

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Trace

log = structlog.get_logger()


class Router:
    """All pools of this process. Use it inside one running event loop, and `close` it."""

    def __init__(
        self,
        connect: Connect,
        *,
        settings: RoutingSettings | None = None,
        gateways: Callable[[], int] = lambda: 1,
        observe: Callable[[str, str, WorkerChange], None] = lambda *_: None,
    ) -> None:
        """Make a router without pools.

        `connect` makes a worker's client; `gateways` returns how many gateways share the workers;
        `observe` is called with (model, url, change) whenever a worker changes its state.
        """
        self._observe = observe
        self._connect = connect
        self._gateways = gateways
        self._settings = settings or RoutingSettings()
        self.lag = LoopLag()
        self.pools: dict[str, Pool] = {}

    def serve(self, spec: PoolSpec) -> Pool:
        """Open a pool, empty at first; its workers are added by `Pool.add`."""
        assert spec.model not in self.pools, f"{spec.model} has a pool already"
        self.lag.start()
        pool = self.pools[spec.model] = Pool(
            spec,
            connect=self._connect,
            settings=self._settings,
            lag=self.lag,
            gateways=self._gateways,
            observe=self._observe,
        )
        return pool

    async def stop_serving(self, model: str) -> None:
        """Close a model's pool; its requests end with Closing."""
        pool = self.pools.pop(model, None)
        if pool is not None:
            await pool.close()

    def admit(self, model: str, offer: Offer) -> None:
        """Raise UnknownModel, Shed or NoWorker if a request can't be served in time.

        Reserves nothing.
        """
        self._pool(model).core.admit(offer)

    async def dispatch(
        self,
        model: str,
        rows: Sequence[TokenRow],
        offer: Offer,
        *,
        request_id: str = "",
        progress: Progress | None = None,
        trace: Trace | None = None,
    ) -> list[memoryview]:
        """Embed the rows: one buffer of raw little-endian float32 for each, in order, verified.

        Canceling this closes its calls to workers; `progress`, if given, says whether any was made
        so far. The spans of its calls are put in its `trace`, if it has one. Raises a
        RoutingError; see `outcomes`.
        """
        try:
            return await self._pool(model).dispatch(
                rows, offer, request_id=request_id, progress=progress, trace=trace
            )
        except FatalInput as error:
            if error.is_new:
                log.error(  # operators should find the engine's bug
                    "an input ends workers", model=model, request=request_id, digest=error.digest
                )
            raise
        except (AllAttemptsFailed, RowsRefused) as error:
            log.error("dispatch failed", model=model, request=request_id, reason=error.detail)
            raise

    def statuses(self) -> list[WorkerStatus]:
        """Return, for every worker of every model, whether it is ready."""
        return [
            WorkerStatus(model, worker.state is WorkerState.READY)
            for model, pool in self.pools.items()
            for worker in pool.workers()
        ]

    def worker(self, model: str, url: str) -> Worker | None:
        """Return a worker of a model, or None when it is not known here."""
        pool = self.pools.get(model)
        return pool.core.workers.get(url) if pool else None

    async def close(self) -> None:
        """Close every pool."""
        for model in tuple(self.pools):
            await self.stop_serving(model)
        await self.lag.close()

    def _pool(self, model: str) -> Pool:
        pool = self.pools.get(model)
        if pool is None:
            raise UnknownModel(f"no pool serves {model!r}", retry_after_seconds=10.0)
        return pool
