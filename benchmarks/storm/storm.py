"""What a scenario works with: the deployment, the load, and the span of its fault."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from benchmarks.storm.clients import Clients
from benchmarks.storm.deployment import Deployment
from benchmarks.storm.record import Record
from benchmarks.storm.template import CUSTOMERS

WARM_SECONDS = 2.0
SLOW_SECONDS = 2.0
"""A service is whole once every attempt is served, and sooner than this."""
CALM_SECONDS = 3.0
"""How long it must have been whole before a scenario ends."""
_CALM_SECONDS_MAX = 45.0
_AT_ONCE = 4


class Storm:
    """A deployment under load. `fault` marks when something is wrong; see `through`."""

    def __init__(
        self, deployment: Deployment, record: Record, *, choose: random.Random, rate: float,
        seconds: float | None,
    ) -> None:  # fmt: skip
        self.deployment = deployment
        self.record = record
        self.choose = choose
        self.prices_nanos = {8}
        """What a token may have cost."""
        self.notes: list[str] = []
        """What the page says beside the figures."""
        self.expectations: list[str] = []
        """What a scenario expected and did not see."""
        self.spans: list[tuple[float, float]] = []
        """When something was wrong, in seconds since the scenario began."""
        self.began = time.monotonic()
        self.loaded_at = 0.0
        """When the load began. What was before only made keys and credit known to the gateways."""
        self.clients: Clients
        self._seconds = seconds
        self._rate = rate

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have clients in front of the balancer."""
        url = self.deployment.balancer.url
        async with Clients(self.record, url, self.choose, self.began) as self.clients:
            yield

    async def everybody(self, url: str = "") -> None:
        """Let every organization ask once, a few at a time."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def ask(customer: int) -> None:
            async with turn:
                await self.clients.ask(customer, url=url)

        await asyncio.gather(*(ask(number) for number in range(CUSTOMERS)))

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Send requests until the block ends, and then until all is whole again.

        Before, every organization asks each gateway: a key that is new there, or credit that is not
        leased there, needs PostgreSQL.
        """
        for gateway in self.deployment.gateways:
            await self.everybody(gateway.url)
        self.loaded_at = self.clients.now()
        loading = asyncio.create_task(self.clients.load(self._rate))
        try:
            await asyncio.sleep(WARM_SECONDS)
            yield
            await self._calm()
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        await self.clients.idle()

    @contextlib.asynccontextmanager
    async def fault(self) -> AsyncIterator[None]:
        """Mark that something is wrong until the block ends."""
        began = self.clients.now()
        try:
            yield
        finally:
            self.spans.append((began, self.clients.now()))

    async def through(
        self, fault: AbstractAsyncContextManager[object], *, seconds: float = 8.0
    ) -> None:
        """Send requests before, during and after a fault of so many seconds."""
        async with self.load(), self.fault(), fault:
            await self.last(seconds)

    async def last(self, seconds: float) -> None:
        """Let a fault last: as long as it says, or as the command line says."""
        await asyncio.sleep(self._seconds or seconds)

    def expect(self, what: str, *, holds: bool) -> None:
        """Note what does not hold."""
        if not holds:
            self.expectations.append(what)

    def whole_after(self) -> float:
        """Return how long after the last fault something was still wrong, seconds."""
        ended = max((end for _, end in self.spans), default=0.0)
        wrong = [
            attempt.ended
            for _, attempt in self.record.attempts()
            if not attempt.served or attempt.seconds > SLOW_SECONDS
        ]
        return max(0.0, max(wrong, default=0.0) - ended)

    async def _calm(self) -> None:
        """Wait until everything was well for a while, or for long enough."""
        since = self.clients.now()
        while self.clients.now() - since < _CALM_SECONDS_MAX:
            await asyncio.sleep(0.5)
            ended = max((end for _, end in self.spans), default=since)
            if self.clients.now() - max(ended, ended + self.whole_after()) >= CALM_SECONDS:
                return
