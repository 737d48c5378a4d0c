"""The interface of discovery: a stream of workers that appear and vanish.

A provider that can't look (its DNS or network is down) yields nothing, and so removes no worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

import structlog

log = structlog.get_logger()

RESTART_SECONDS = 1.0
"""Before a provider that failed is asked again; doubles up to `RESTART_SECONDS_MAX`."""
RESTART_SECONDS_MAX = 30.0


class News(NamedTuple):
    """A worker appeared, or vanished."""

    url: str
    here: bool
    name: str = ""
    """host:port whose key and certificate it has, if not those of its address."""
    guest: bool = False
    """It announced its address itself."""


class Provider(Protocol):
    """One source of workers."""

    def watch(self) -> AsyncIterator[News]:
        """Yield the workers there are, then every change; may end if nothing can change."""
        ...


class StaticList:
    """Workers that are listed in the settings and never change while the process lives."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    async def watch(self) -> AsyncIterator[News]:
        """Yield each once."""
        for url in self._urls:
            yield News(url, here=True)


class Members(Protocol):
    """The part of a pool that discovery uses."""

    def add(self, url: str, *, name: str = "", guest: bool = False) -> None:
        """Add a worker; nothing happens if it is here. See `News`."""
        ...

    def remove(self, url: str) -> None:
        """Remove a worker; nothing happens if it is not here."""
        ...


async def follow(members: Members, providers: Sequence[Provider]) -> None:
    """Add and remove a pool's workers as the providers say, until cancelled.

    A worker that several providers know stays until the last of them removes it. A bad address is
    logged and skipped; a provider that fails is logged and restarted. Workers that vanished in
    between stay until an examination finds out.
    """
    sponsored = _Sponsored(members)
    async with asyncio.TaskGroup() as group:
        for index, provider in enumerate(providers):
            group.create_task(_follow_one(sponsored, index, provider))


async def _follow_one(sponsored: _Sponsored, index: int, provider: Provider) -> None:
    pause = RESTART_SECONDS
    while True:
        try:
            async for news in provider.watch():
                pause = RESTART_SECONDS
                sponsored.hear(index, news)
        except Exception:
            log.exception("a provider of workers failed", again_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_SECONDS_MAX)
        else:
            return


class _Sponsored:
    """The members, and which providers list each."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._sponsors: dict[str, set[int]] = {}

    def hear(self, index: int, news: News) -> None:
        """Apply one provider's news; logs an address that can't be added or removed."""
        sponsors = self._sponsors.setdefault(news.url, set())
        try:
            if news.here:
                self._members.add(news.url, name=news.name, guest=news.guest)
                sponsors.add(index)
                return
            sponsors.discard(index)
            if not sponsors:
                self._members.remove(news.url)
        except Exception:
            log.exception("bad address of a worker", url=news.url)
        if not sponsors:
            self._sponsors.pop(news.url, None)
