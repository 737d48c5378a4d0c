"""Fake workers as real processes on fixed ports, so that one can die and come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys

import httpx

SECONDS_PER_TOKEN = 2e-5
_PORTS = range(20_000, 30_000)
_CONTROL_SECONDS = 30.0  # what tells a worker to go wrong is not what is measured


class FakeWorker:
    """One process of `backends.fake`, which outlives the event loop that started it."""

    def __init__(self, *arguments: str) -> None:
        """`arguments` are its own; those of a start add to them."""
        self._arguments = arguments
        self.port = fixed_port()
        scheme = "https" if "--tls-cert" in arguments else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._child: subprocess.Popen[str] | None = None
        self._usual = True

    async def start(self, *arguments: str) -> None:
        """Start it and wait until it listens."""
        self._usual = not arguments
        self._child = subprocess.Popen(  # noqa: ASYNC220 - returns at once; our own module
            [
                *(sys.executable, "-m", "backends.fake", "--exit-with-stdin"),
                *("--port", str(self.port), "--seconds-per-token", str(SECONDS_PER_TOKEN)),
                *(*self._arguments, *arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        line = await asyncio.to_thread(self._child.stdout.readline)
        assert line.startswith("listening on "), f"the worker said {line!r}"

    async def ready(self) -> None:
        """Make it run, healthy and with its usual arguments."""
        if self.runs and self._usual:
            assert self._child is not None
            self._child.send_signal(signal.SIGCONT)
            await self.heal()
            return
        self.end()
        await self.start()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._child is not None, "it is not running"
        self._child.send_signal(number)

    @property
    def runs(self) -> bool:
        """Whether it runs, as far as its parent knows."""
        return self._child is not None and self._child.poll() is None

    async def ended(self) -> None:
        """Wait until it has ended."""
        assert self._child is not None, "it is not running"
        if self.runs:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            watched = os.pidfd_open(self._child.pid)
            loop.add_reader(watched, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
        self.end()

    async def kill(self) -> None:
        """Kill it, whatever its state."""
        self.send(signal.SIGKILL)
        await self.ended()

    def end(self) -> None:
        """Kill it if it runs, and close its pipes."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child = None

    async def fault(self, kind: str, *, times: int = -1, seconds: float = 0.0) -> None:
        """Make its next calls go wrong; -1: all of them."""
        async with httpx.AsyncClient(base_url=self.url, timeout=_CONTROL_SECONDS) as client:
            answer = await client.put(
                "/fault", json={"kind": kind, "times": times, "seconds": seconds}
            )
            answer.raise_for_status()

    async def heal(self) -> None:
        """End the fault."""
        async with httpx.AsyncClient(base_url=self.url, timeout=_CONTROL_SECONDS) as client:
            (await client.delete("/fault")).raise_for_status()


class Fleet:
    """Workers that are kept from one scenario to the next: starting one takes longer than most."""

    def __init__(self, size: int = 3, *arguments: str) -> None:
        self.workers = [FakeWorker(*arguments) for _ in range(size)]

    def end(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.end()


def fixed_port() -> int:
    """Find a free port below the range of outgoing connections, for a server that may come back.

    Otherwise a call to a dead server could get that server's port, and keep it from coming back.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")
