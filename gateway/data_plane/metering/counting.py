"""Where a request is read and its tokens counted: a short one at once, a long one on a thread.

The tokenizer lets go of the interpreter while it works, so a long text on a thread holds up nobody
else's request. The threads are few, and each organization has one of them at a time: however much
one asks to be counted, the others' texts wait for no more than what is being counted.
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
    """Threads that count. `close` them at the end."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "counting")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, organization: str, call: Callable[..., _T], *args: Any) -> _T:
        """Return what the call returns, made on a thread when it is the organization's turn."""
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
        # when the thread is free, not when somebody stops waiting for it
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(turn.release))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """End the threads; what nobody waits for any more is not begun."""
        self._threads.shutdown(cancel_futures=True)
