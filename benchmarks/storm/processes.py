"""The other processes of a deployment: gateways and Valkey, each with a port that it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp

from benchmarks.faults.processes import fixed_port
from testing import servers

_READY_SECONDS = 180.0
_STOP_SECONDS = 180.0


class Gateway:
    """One `gateway run`, with a journal of its own."""

    def __init__(self, number: int, folder: Path, environment: Mapping[str, str]) -> None:
        self.port = fixed_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"gateway-{number}.log"
        self.journal = folder / f"journal-{number}"
        self.environment = dict(environment)
        self.code = Path.cwd()
        """The tree whose version it runs."""
        self._child: subprocess.Popen[bytes] | None = None

    async def start(self, *, waits: bool = True) -> None:
        """Start it; `waits` until it is ready."""
        command = [sys.executable, "-m", "gateway", "run", "--port", str(self.port)]
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [*servers.dying_with_us(), *command],
                stdout=out,
                stderr=out,
                cwd=self.code,
                env={**os.environ, "GATEWAY_JOURNAL_PATH": str(self.journal), **self.environment},
            )
        if waits:
            await self.ready()

    async def ready(self) -> None:
        """Wait until it says that it can serve."""
        deadline = time.monotonic() + _READY_SECONDS
        async with aiohttp.ClientSession() as http:
            while time.monotonic() < deadline:
                assert self.runs, f"a gateway ended: {self.said()}"
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(
                        f"{self.url}/health/ready", timeout=aiohttp.ClientTimeout(2)
                    ) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)
        raise AssertionError(f"a gateway is not ready: {self.said()}")

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._child is not None, "it does not run"
        return self._child.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        """Wait until it has ended; return its status."""
        assert self._child is not None, "it does not run"
        status = await asyncio.to_thread(self._child.wait, _STOP_SECONDS)
        self._child = None
        return status

    async def stop(self) -> None:
        """Stop it in order. Raises AssertionError if it doesn't end as it should."""
        self.send(signal.SIGTERM)
        try:
            status = await self.ended()
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a gateway does not stop: {self.said()}") from None
        assert status in (0, -signal.SIGTERM), f"a gateway ended with {status}: {self.said()}"

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """It is killed, and started again when the block ends."""
        await self.kill()
        yield
        await self.start()

    @contextlib.asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """It stands still, as a paused container does, until the block ends."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, whatever its state."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-3_000:]


class Valkey:
    """A Valkey that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.port = fixed_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._server = await asyncio.to_thread(servers.start_valkey, self._folder, self.port)

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """It is killed, and started again, empty, when the block ends."""
        self.end()
        yield
        await self.start()

    @contextlib.asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        """It stands still: connections are open, and nothing answers."""
        assert self._server is not None, "it does not run"
        self._server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, whatever its state."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
