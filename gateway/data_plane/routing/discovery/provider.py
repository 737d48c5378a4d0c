"""The interface of discovery: a stream of workers that appear and vanish.

A provider that can't look (its DNS or its network is gone) says nothing: silence removes nobody.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class News(NamedTuple):
    """A worker appeared, or vanished."""

    url: str
    here: bool


class Provider(Protocol):
    """One place where workers are known."""

    def watch(self) -> AsyncIterator[News]:
        """Yield what changes, beginning with what is there; may end when nothing ever will."""
        ...


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

    A worker that several providers know stays until the last of them lets it go.
    """
    known: dict[str, set[int]] = {}

    async def follow_one(index: int, provider: Provider) -> None:
        async for url, here in provider.watch():
            sponsors = known.setdefault(url, set())
            if here:
                sponsors.add(index)
                members.add(url)
                continue
            sponsors.discard(index)
            if not sponsors:
                del known[url]
                members.remove(url)

    async with asyncio.TaskGroup() as group:
        for index, provider in enumerate(providers):
            group.create_task(follow_one(index, provider))
