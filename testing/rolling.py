"""Gateways and workers as processes at addresses of their own, restarted while they serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

import httpx

from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from testing.balancer import Balancer, Target
from testing.gateways import MODEL
from testing.servers import free_port

_START_SECONDS = 180.0
_EXIT_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_PATIENT = {"GATEWAY_KEY_WAIT_SECONDS": "60", "GATEWAY_CREDIT_WAIT_SECONDS": "60"}
"""A slow machine is no database that hangs."""


class Rolling:
    """A server at one address, whatever process is there."""

    def __init__(self, *command: str, ready: str, environment: Mapping[str, str]) -> None:
        """Take the words after `python -m`; `--port N` follows them."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", *command, "--port", str(self.port)]
        self.environment = {**os.environ, **environment}
        self.statuses: list[int | None] = []
        """Of the processes that have ended."""
        self._ready = f"{self.url}{ready}"
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start a process, and wait until it is ready."""
        assert self._child is None, "it runs already"
        self._child = await asyncio.create_subprocess_exec(
            *self.command, env=self.environment, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(_START_SECONDS), httpx.AsyncClient() as http:
            while not await self._is_ready(http):
                assert self._child.returncode is None, f"{self.command} ended"
                await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self, balanced: Target | None = None) -> None:
        """End it; once its balancer has taken it out, if it has one, it need not wait longer."""
        assert self._child is not None, "it does not run"
        self._child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_EXIT_SECONDS):
            if balanced is not None:
                while balanced.is_in:
                    await asyncio.sleep(_LOOK_SECONDS)
                self._child.send_signal(signal.SIGTERM)
            self.statuses.append(await self._child.wait())
        self._child = None

    async def end(self) -> None:
        """End a gateway without a drain, as Ctrl-C does."""
        assert self._child is not None, "it does not run"
        self._child.send_signal(signal.SIGINT)
        self.statuses.append(await self._child.wait())
        self._child = None

    async def restart(self, balanced: Target | None = None) -> None:
        """Replace the process, and wait until the next one is in its balancer."""
        await self.stop(balanced)
        await self.start()
        async with asyncio.timeout(_START_SECONDS):
            while balanced is not None and not balanced.is_in:
                await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Kill what still runs."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(self._ready)).status_code == 200
        except httpx.TransportError:
            return False


def gateway(environment: Mapping[str, str], *options: str) -> Rolling:
    """Return a gateway that is not started."""
    return Rolling(
        "gateway", "run", *options, ready="/health/ready", environment={**_PATIENT, **environment}
    )


def worker(drain_seconds: float) -> Rolling:
    """Return a fake worker that poses as the embedded model and is not started."""
    return Rolling(
        "backends.fake", "--model", MODEL, "--dimensions", "384",
        "--vocabulary-sha256", BERT_UNCASED_SHA256,
        "--drain-seconds", str(drain_seconds), ready="/ready", environment={},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def closing(*servers: Rolling) -> AsyncIterator[None]:
    """Kill what is left of servers when the block ends."""
    try:
        yield
    finally:
        await asyncio.gather(*(server.close() for server in servers))


@contextlib.asynccontextmanager
async def started(*servers: Rolling) -> AsyncIterator[None]:
    """Start servers together, and kill what is left of them when the block ends."""
    async with closing(*servers):
        await asyncio.gather(*(server.start() for server in servers))
        yield


async def replace(balancer: Balancer, number: int, server: Rolling) -> None:
    """Let a server that runs take another one's place; that one gets no request from then on."""
    balancer.point(number, server.url)
    async with asyncio.timeout(_START_SECONDS):
        while not balancer.targets[number].is_in:
            await asyncio.sleep(_LOOK_SECONDS)


async def roll(gateways: Sequence[Rolling], workers: Sequence[Rolling], balancer: Balancer) -> None:
    """Restart each gateway after the other, and beside them each worker after the other."""

    async def all_gateways() -> None:
        for number, one in enumerate(gateways):
            await one.restart(balancer.targets[number])

    async def all_workers() -> None:
        for one in workers:
            await one.restart()

    await asyncio.gather(all_gateways(), all_workers())
