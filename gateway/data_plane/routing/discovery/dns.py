"""The addresses behind a name, such as a Kubernetes headless Service: one worker each.

They share the key and the certificate of the name.

A failed lookup changes nothing: an outage of DNS is no outage of the workers. An address must be
missing twice in a row before it is removed, because an answer can be truncated.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.data_plane.routing.discovery.provider import News

Resolve = Callable[[str, int], Awaitable[frozenset[str]]]
"""From (host, port) to addresses. Empty: the name has none. Raises OSError if the lookup fails."""

_MISSES_MAX = 2
_JITTER = 0.2
_TIMEOUT_SECONDS = 5.0
_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class DnsName:
    """The workers behind `host`, all on `port`, and all with the same `path` and query."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        scheme: str = "http",
        path: str = "",
        poll_seconds: float = 3.0,
        resolve: Resolve | None = None,
    ) -> None:
        self._host, self._port, self._scheme, self._path = host, port, scheme, path
        self._poll_seconds = poll_seconds
        self._resolve = resolve or system_resolve

    async def watch(self) -> AsyncIterator[News]:
        """Poll, and yield the differences."""
        misses: dict[str, int] = {}
        while True:
            found = await self._look()
            if found is not None:
                for url in sorted(found - misses.keys()):
                    yield News(url, here=True, name=f"{self._host}:{self._port}")
                misses = {url: 0 if url in found else misses[url] + 1 for url in found | {*misses}}
                for url in sorted(url for url, count in misses.items() if count >= _MISSES_MAX):
                    del misses[url]
                    yield News(url, here=False)
            pause = self._poll_seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
            await asyncio.sleep(pause)

    async def _look(self) -> set[str] | None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                addresses = await self._resolve(self._host, self._port)
        except OSError:  # TimeoutError is one too
            return None
        return {self._url(address) for address in addresses}

    def _url(self, address: str) -> str:
        host = f"[{address}]" if ":" in address else address
        return f"{self._scheme}://{host}:{self._port}{self._path}"


async def system_resolve(host: str, port: int) -> frozenset[str]:
    """Ask the system's resolver. Raises OSError if the lookup fails."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_ADDRESS:
            return frozenset()
        raise
    return frozenset(str(address[0]) for *_, address in found)
