"""Where a request is read and its tokens counted: a short one at once, a long one on a thread.

The tokenizer lets go of the interpreter while it works, so a long text on a thread holds up nobody
else's request. The threads are few, and what waits for them is bounded by the requests in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

AT_ONCE_MAX = 20_000
"""Most characters, or ids, that are counted on the event loop: 5 ms of the slowest text."""
AT_ONCE_BYTES_MAX = 524_288
"""Largest body that is read on the event loop: 3 ms."""

_T = TypeVar("_T")


class CountingThreads:
    """Threads that count. `close` them at the end."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "counting")

    async def run(self, call: Callable[..., _T], *args: Any) -> _T:
        """Return what the call returns, made on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    def close(self) -> None:
        """End the threads; what nobody waits for any more is not begun."""
        self._threads.shutdown(cancel_futures=True)
