"""How late our own event loop is. A timeout while it was late accuses no worker.

Without this, a prototype ejected healthy workers whenever the machine was busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import time


class LoopLag:
    """Ticks, and remembers the latest tick of the last `memory_seconds`."""

    def __init__(self, *, tick_seconds: float = 0.05, memory_seconds: float = 1.0) -> None:
        self._tick_seconds = tick_seconds
        self._memory_seconds = memory_seconds
        self._due = time.monotonic() + tick_seconds
        self._worst = 0.0
        self._worst_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to tick; needs a running loop."""
        if self._task is None:
            self._due = time.monotonic() + self._tick_seconds
            self._task = asyncio.create_task(self._run())

    def seconds(self) -> float:
        """Worst recent lateness, including that of a tick that is overdue now."""
        if self._task is None:
            return 0.0
        now = time.monotonic()
        recent = self._worst if now - self._worst_at < self._memory_seconds else 0.0
        return max(recent, now - self._due, 0.0)

    async def close(self) -> None:
        """Stop ticking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            now = time.monotonic()
            late = now - self._due
            if late >= self._worst or now - self._worst_at > self._memory_seconds:
                self._worst, self._worst_at = max(late, 0.0), now
            self._due = now + self._tick_seconds
