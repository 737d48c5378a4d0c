"""Clients that keep their connections and never ask twice, and what became of each request."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp

from testing.gateways import MODEL

_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.02


class Load:
    """What the clients of one key have got so far."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/v1/embeddings"
        self._headers = {"authorization": f"Bearer {key}"}
        self._numbers = itertools.count()
        self.answered: set[str] = set()
        """Ids of the requests that were answered with 200."""
        self.failed: Counter[str] = Counter()
        """Everything else, by its status or error."""

    async def more(self, count: int = 20) -> None:
        """Wait until so many requests more are answered, or one fails."""
        enough = len(self.answered) + count
        while len(self.answered) < enough and not self.failed:
            await asyncio.sleep(_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator[Load]:
        """Send requests until the block ends, then wait for the answers to those begun."""
        ending = asyncio.Event()
        sending = [asyncio.create_task(self._send(ending)) for _ in range(clients)]
        try:
            yield self
        finally:
            ending.set()
            await asyncio.gather(*sending)

    async def _send(self, ending: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=self._headers
        ) as http:
            while not ending.is_set():
                await self._ask(http)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        # a text of its own: equal ones that were not fetched would be retries
        body = {"model": MODEL, "input": f"request {next(self._numbers)}"}
        try:
            async with http.post(self._url, json=body) as answer:
                said = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed[repr(error)] += 1
        else:
            if answer.status == 200:
                self.answered.add(answer.headers["x-request-id"])
            else:
                self.failed[f"{answer.status} {answer.headers.get('x-balancer', '')} {said}"] += 1
