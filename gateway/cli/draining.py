"""A server that leaves its load balancer before it stops listening.

On SIGTERM it immediately reports that it is not ready, closes each connection after its next
answer, and goes on serving for GATEWAY_DRAIN_SECONDS, so that its clients can find another gateway.
Then it stops listening, finishes what it has begun, and exits with 0. Ctrl-C, SIGQUIT and a second
SIGTERM skip that time.
"""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from types import FrameType
from typing import cast

import structlog
import uvicorn

from gateway.app.process import Process
from gateway.cli.ending import EndingServer

log = structlog.get_logger()


class DrainingServer(EndingServer):
    """Serves a `Process` of `gateway.app`."""

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends_at = math.inf
        """When it stops listening, on the loop's clock."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and handle SIGQUIT too."""
        self._loop = asyncio.get_running_loop()
        signal.signal(signal.SIGQUIT, self.handle_exit)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain, or end if there is nothing to drain or no time to drain in."""
        if self._loop is None or not self.started or self.should_exit:
            super().handle_exit(sig, frame)
            return
        self._loop.call_soon_threadsafe(self._process.drain)
        if sig != signal.SIGTERM or not self._drain_seconds or self._ends_at < math.inf:
            super().handle_exit(sig, frame)
            return
        self._ends_at = self._loop.time() + self._drain_seconds
        log.info("draining", seconds=self._drain_seconds)

    async def on_tick(self, counter: int) -> bool:
        """End once the drain is over."""
        if self._loop is not None and self._loop.time() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)

    @property
    def _process(self) -> Process:
        return cast("Process", self.config.loaded_app)
