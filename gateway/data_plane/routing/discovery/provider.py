"""The interface of discovery: a stream of workers that appear and vanish.

A provider that can't look (its DNS or its network is gone) says nothing: silence removes nobody.
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


class Provider(Protocol):
    """One place where workers are known."""

    def watch(self) -> AsyncIterator[News]:
        """Yield what changes, beginning with what is there; may end when nothing ever will."""
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
    """What a pool offers to discovery."""

    def add(self, url: str) -> None:
        """Take a worker in; nothing happens when it is here."""
        ...

    def remove(self, url: str) -> None:
        """Let a worker go; nothing happens when it is not here."""
        ...


async def follow(members: Members, providers: Sequence[Provider]) -> None:
    """Keep a pool's members as the providers say, until cancelled.

    A worker that several providers know stays until the last of them lets it go. An address that
    can't be taken, or a provider that fails, ends nothing but itself: it is logged, and the
    provider is asked again. What vanished meanwhile stays, until an examination tells.
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
    """Members, and which providers speak for each."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._sponsors: dict[str, set[int]] = {}

    def hear(self, index: int, news: News) -> None:
        """Take one provider's news; an address that can't be taken is logged."""
        sponsors = self._sponsors.setdefault(news.url, set())
        try:
            if news.here:
                self._members.add(news.url)
                sponsors.add(index)
                return
            sponsors.discard(index)
            if not sponsors:
                self._members.remove(news.url)
        except Exception:
            log.exception("an address can't be taken", url=news.url)
        if not sponsors:
            self._sponsors.pop(news.url, None)
