"""How a server ends that was started by hand: gracefully, or at once after a second Ctrl-C.

What was charged is durable before its answer, and the next process takes over what this one held,
so ending at once loses nothing but the answers in progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from gateway.cli.printing import say

AGAIN = "Ctrl-C again ends at once."
QUIET_SECONDS = 2.0
"""How long an end may take before it says what it waits for."""
_STATUS = 128 + signal.SIGINT


class EndingServer(uvicorn.Server):
    """A uvicorn server that says what its end waits for; `at_once` ends what else was started."""

    def __init__(
        self, config: uvicorn.Config, *, at_once: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._at_once = at_once

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at once if it was already asked to."""
        if self.should_exit and sig == signal.SIGINT:
            self.end_at_once()
        super().handle_exit(sig, frame)

    def end_at_once(self) -> None:
        """End this process now."""
        self._at_once()
        os._exit(_STATUS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while it serves; ending by one is no error, so the exit status is 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # else uvicorn raises them again before our cleanup
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # everything else is ending already
        signal.signal(signal.SIGINT, lambda *_: self.end_at_once())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in progress, then stop."""
        telling = asyncio.create_task(self._tell())
        try:
            await super().shutdown(sockets)
        finally:
            telling.cancel()

    async def _tell(self) -> None:
        await asyncio.sleep(QUIET_SECONDS)
        count, seconds = len(self.server_state.connections), self.config.timeout_graceful_shutdown
        requests = "1 request" if count == 1 else f"{count} requests"
        what = f"{requests} in progress, at most {seconds} s" if count else "background work"
        say(f"Waiting for {what}. {AGAIN}")
