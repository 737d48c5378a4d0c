"""The server of `gateway dev`, which says when it can be tried."""

from __future__ import annotations

from collections.abc import Callable

import uvicorn

from gateway.cli.ending import EndingServer
from gateway.cli.printing import say

_READY_TICKS = 600
"""How long the banner waits for the model to be loaded, a minute: pages answer without it."""


class DevServer(EndingServer):
    """A server that prints a banner once what the banner says to try can be answered."""

    def __init__(
        self,
        config: uvicorn.Config,
        banner: str,
        is_ready: Callable[[], bool],
        *,
        at_once: Callable[[], None],
    ) -> None:
        super().__init__(config, at_once=at_once)
        self._banner, self._is_ready = banner, is_ready

    async def on_tick(self, counter: int) -> bool:
        """Print the banner in time; uvicorn calls this ten times a second while it serves."""
        if self._banner and (self._is_ready() or counter >= _READY_TICKS):
            say(self._banner)
            self._banner = ""
        return await super().on_tick(counter)
