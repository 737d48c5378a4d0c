"""Threads on which large bodies are decoded and long texts counted; short ones are done at once.

The tokenizer releases the GIL, so a long text on a thread does not delay other requests. Threads
are few, and each organization uses one at a time: however much one sends, the others' texts wait
only for what is being counted at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakValueDictionary

AT_ONCE_MAX = 20_000
"""Most characters, or ids, that are counted on the event loop: 5 ms of the slowest text."""
AT_ONCE_BYTES_MAX = 524_288
"""Largest body that is read on the event loop: 3 ms."""

_T = TypeVar("_T")


class CountingThreads:
    """The threads. `close` them at shutdown."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "counting")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, organization: str, call: Callable[..., _T], *args: Any) -> _T:
        """Run a call on a thread, when it is the organization's turn."""
        turn = self._turns.get(organization)
        if turn is None:
            turn = self._turns[organization] = asyncio.Lock()
        await turn.acquire()
        try:
            job = self._threads.submit(call, *args)
        except BaseException:
            turn.release()
            raise
        loop = asyncio.get_running_loop()
        # when the thread is free, which is later than when a canceled caller stops waiting
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(turn.release))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Stop the threads; calls that haven't started are dropped."""
        self._threads.shutdown(cancel_futures=True)
