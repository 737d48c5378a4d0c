"""Workers that are listed in the settings, and never change while the process lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.data_plane.routing.discovery.provider import News

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class StaticList:
    """A fixed list of URLs."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    async def watch(self) -> AsyncIterator[News]:
        """Yield each once."""
        for url in self._urls:
            yield News(url, here=True)
