"""A pool of real workers, clients that check every answer, and the record of both."""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from backends.fake import POISON, vector
from backends.protocol import TokenRow
from backends.registry import connect
from benchmarks.faults.processes import FakeWorker, Fleet
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.examination import PoolSpec
from gateway.data_plane.routing.outcomes import RoutingError
from gateway.data_plane.routing.pool import Pool
from gateway.data_plane.routing.router import Router
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.witnesses import Rider
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import GoldenRow, WorkerChange, WorkerState, WorkerStatus

DIMENSIONS = 8
MODEL = "fake"
ANOTHER = "another"
"""A second revision, pinned too: its vectors are salted with its name."""
_SCHEDULED = Path("/proc/thread-self/schedstat")
_GOLDEN_IDS = struct.pack("<5I", 101, 2023, 2003, 2019, 102)
_START_SECONDS = 20.0
_PATIENCE_SECONDS = 12.0
"""How long a scenario waits for a change of state."""

Findings = dict[str, float]
"""Figures by name."""


class Lab:
    """Workers, a router, clients. Use it as a context manager."""

    def __init__(self, fleet: Fleet, *, seed: int, settings: RoutingSettings | None = None) -> None:
        self.source = random.Random(seed)
        self.workers = fleet.workers
        self.router = Router(connect, settings=settings, observe=self._changed)
        self.served = 0
        self.wrong = 0
        self.errors: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.changes: list[tuple[str, WorkerChange]] = []
        self._news = asyncio.Event()
        self._stack = AsyncExitStack()
        self._number = 0
        self._spec = PoolSpec(
            model=MODEL,
            dimensions=frozenset({DIMENSIONS}),
            golden={"fake": (_golden(""),), ANOTHER: (_golden(ANOTHER),)},
        )

    @property
    def pool(self) -> Pool:
        """The lab's only pool."""
        return self.router.pools[MODEL]

    async def __aenter__(self) -> Self:
        pool = self.router.serve(self._spec)
        self._stack.push_async_callback(self.router.close)
        await asyncio.gather(*(worker.ready() for worker in self.workers))
        for worker in self.workers:
            pool.add(worker.url)
        await self.whole()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def whole(self) -> None:
        """Wait until each worker is ready."""
        async with asyncio.timeout(_START_SECONDS):
            while self.router.statuses() != [WorkerStatus(MODEL, ready=True)] * len(self.workers):
                await self._news.wait()

    @contextlib.asynccontextmanager
    async def traffic(self, clients: int = 6) -> AsyncIterator[None]:
        """Send and check requests from so many clients until the block ends."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._client(stop)) for _ in range(clients)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def ask(self, rows: list[TokenRow], *, seconds: float = 10.0) -> None:
        """Make one request and check each vector of it; an error is counted, not raised."""
        started = time.monotonic()
        try:
            offer = Offer("org", sum(row.tokens for row in rows), started + seconds)
            vectors = await self.router.dispatch(MODEL, rows, offer, request_id=str(self._number))
        except RoutingError as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
            return
        self.latencies.append(time.monotonic() - started)
        expected = [vector(row.ids, row.dimensions) for row in rows]
        self.served += 1
        self.wrong += [bytes(found) for found in vectors] != expected

    def rows(self, count: int = 0) -> list[TokenRow]:
        """Make rows that were never sent before."""
        return [self._row() for _ in range(count or self.source.randint(1, 6))]

    def poison(self) -> TokenRow:
        """Make a row that makes a poisoned worker fail."""
        self._number += 1
        return TokenRow(struct.pack("<2I", POISON, self._number), DIMENSIONS)

    async def out(self, worker: FakeWorker, since: float) -> float:
        """Wait until a worker is quarantined; returns the seconds from `since`."""
        return await self.seen(worker, WorkerState.QUARANTINED, since=since)

    async def back(self, worker: FakeWorker, since: float) -> float:
        """Wait until a worker is ready; returns the seconds from `since`."""
        return await self.seen(worker, WorkerState.READY, since=since)

    async def seen(
        self, worker: FakeWorker, state: WorkerState, *, since: float, reason: str = ""
    ) -> float:
        """Wait for a worker's change to a state after `since`; returns the seconds from then.

        The change's reason must contain `reason`.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                for url, change in self.changes:
                    due = url == worker.url and change.at >= since
                    if due and change.state is state and reason in change.reason:
                        return change.at - since
                await self._news.wait()

    def riders_of(self, worker: FakeWorker) -> list[Rider]:
        """Return the rows that ride along to a worker from now on, as they come."""
        found, rider = [], self.pool.core.witnesses.rider

        def noted(to: Worker, rows: Sequence[TokenRow], sent_tokens: int) -> Rider | None:
            riding = rider(to, rows, sent_tokens)
            if riding is not None and to.url == worker.url:
                found.append(riding)
            return riding

        self.pool.core.witnesses.rider = noted  # type: ignore[assignment, method-assign]
        return found

    def count(self, name: str) -> int:
        """Return a counter of the dispatcher."""
        return self.pool.core.counts[name]

    @property
    def tokens_at_rest(self) -> int:
        """Tokens in flight or waiting, as the router counts them; must be 0 at rest."""
        flying = sum(worker.tokens_in_flight for worker in self.pool.workers())
        return self.pool.core.queue.tokens + flying

    async def burst(self, requests: int, *poison: TokenRow) -> None:
        """Send so many requests at one moment, so that they share calls."""
        asks = [self.ask(self.rows()) for _ in range(requests)]
        await asyncio.gather(*asks[1:], *(self.ask([row]) for row in poison), *asks[:1])

    def at_rest(self, *, errors: int = 0) -> Findings:
        """Check what must hold after any fault."""
        assert self.wrong == 0, f"{self.wrong} wrong vectors of {self.served}"
        assert self.errors.total() == errors, f"client errors: {dict(self.errors)}"
        assert self.tokens_at_rest == 0, f"{self.tokens_at_rest} tokens in flight at rest"
        assert self.served > 0
        return {"served": self.served, "p99": self.p99()}

    def p99(self) -> float:
        """Return the latency that 99 % of the answers stay below, seconds."""
        ordered = sorted(self.latencies)
        return ordered[int(0.99 * len(ordered))] if ordered else float("nan")

    async def _client(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.ask(self.rows())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.source.uniform(0.0, 0.02)):
                    await stop.wait()

    def _row(self) -> TokenRow:
        self._number += 1
        length = self.source.randint(2, 60)
        ids = (101, self._number, *(self.source.randrange(1000, 30000) for _ in range(length)))
        return TokenRow(struct.pack(f"<{len(ids)}I", *ids), DIMENSIONS)

    def _changed(self, _model: str, url: str, change: WorkerChange) -> None:
        self.changes.append((url, change))
        self._news.set()
        self._news = asyncio.Event()


def starved_seconds() -> float:
    """Return how long this thread was ready to run without a core, which is no router's fault."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except OSError:  # no Linux, or a kernel that does not count it
        return 0.0


def _golden(salt: str) -> GoldenRow:
    return GoldenRow(ids=_GOLDEN_IDS, vectors={DIMENSIONS: vector(_GOLDEN_IDS, DIMENSIONS, salt)})
