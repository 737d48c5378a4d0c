"""Looks up hosts without letting one organization's slow names delay the others'.

A lookup occupies a thread until the name server answers, which can't be interrupted. So each lookup
has its own time limit, and counts against two bounds until its thread is free again, even if nobody
waits for it any more: one for its organization, one for all.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from gateway.errors import Unavailable

Find = Callable[[str, int], Collection[str]]
"""Resolves a host and port to IP addresses; may block. Raises OSError."""

SECONDS = 5.0
"""How long a name server has."""
WAIT_SECONDS = 5.0
"""How long a lookup waits for a free thread."""
THREADS = 32
"""Most lookups at once."""
EACH_MAX = 2
"""Most lookups at once of one organization."""


class LookupsBusy(Unavailable):
    """Too many host names are being looked up."""

    code = "lookups_busy"


class Lookups:
    """Looks up hosts, in threads of its own."""

    def __init__(self, find: Find | None = None) -> None:
        self._find = find or _find
        self._threads = ThreadPoolExecutor(THREADS, "webhook-names")
        self._all = asyncio.Semaphore(THREADS)
        # an organization's places are forgotten when no lookup of it is left
        self._each: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def find(self, organization_id: str, host: str, port: int) -> Collection[str]:
        """Return a host's IP addresses. Raises OSError, TimeoutError or LookupsBusy."""
        each = self._each.get(organization_id)
        if each is None:
            each = self._each[organization_id] = asyncio.Semaphore(EACH_MAX)
        await self._enter(each)
        looking = asyncio.get_running_loop().run_in_executor(self._threads, self._find, host, port)

        def leave(done: asyncio.Future[Collection[str]]) -> None:
            self._all.release()
            each.release()
            if not done.cancelled():
                done.exception()  # mark it as retrieved: the caller may have given up

        looking.add_done_callback(leave)
        async with asyncio.timeout(SECONDS):
            return await asyncio.shield(looking)

    def close(self) -> None:
        """Start no more threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _enter(self, each: asyncio.Semaphore) -> None:
        """Take a place of the organization and one of all. Raises LookupsBusy."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await each.acquire()
                try:
                    await self._all.acquire()
                except BaseException:
                    each.release()
                    raise
        except TimeoutError:
            raise LookupsBusy(
                "Too many host names are being looked up. Try again in a minute."
            ) from None


def _find(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
