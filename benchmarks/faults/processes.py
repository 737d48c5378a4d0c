"""Fake workers as real processes on fixed ports, so that one can die and come back."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import sys
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from types import TracebackType

SECONDS_PER_TOKEN = 2e-5
_PORTS = range(20_000, 30_000)


class FakeWorker:
    """One process of `backends.fake`."""

    def __init__(self, *arguments: str) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str) -> None:
        """Start it and wait until it listens."""
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backends.fake", "--exit-with-stdin"),
            *("--port", str(self.port), "--seconds-per-token", str(SECONDS_PER_TOKEN)),
            *(arguments or self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._child.stdout is not None
        line = await self._child.stdout.readline()
        assert line.startswith(b"listening on "), f"the worker said {line!r}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._child is not None, "it is not running"
        self._child.send_signal(number)

    async def ended(self) -> None:
        """Wait for its end."""
        assert self._child is not None, "it is not running"
        await self._child.wait()

    async def kill(self) -> None:
        """End it at once, whatever its state."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()

    async def fault(self, kind: str, *, times: int = -1, seconds: float = 0.0) -> None:
        """Make its next calls go wrong; all of them with -1."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            answer = await client.put(
                "/fault", json={"kind": kind, "times": times, "seconds": seconds}
            )
            answer.raise_for_status()

    async def heal(self) -> None:
        """End the fault."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            (await client.delete("/fault")).raise_for_status()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            await self.kill()


def _free_port() -> int:
    """Find a port below those that outgoing calls are given.

    Else a call to a dead worker may be given the dead worker's own port, and keep it from coming
    back.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")
