"""A connection to a stock engine on which nothing is sent: it ends when the engine's process does.

An engine doesn't say which process it is, and one that ends may be back at once with another model.
The end of this connection shows that between two examinations. Something between us and an engine
may end it too: that costs one examination more, and if it keeps ending the connection at once, none
is opened for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from ssl import SSLContext

from yarl import URL

_BRIEF_SECONDS = 2.0
"""A connection that ends within this time was perhaps not wanted."""
_BRIEF_MAX = 3
"""After so many of them in a row, there is a pause."""
_REST_SECONDS = 60.0
"""How long the pause is."""


class Lifeline:
    """Keeps one such connection open."""

    def __init__(self, base: str, tls: Callable[[], SSLContext] | None, host: str | None) -> None:
        """`base` is the engine's address; `tls` and `host` are used if it is https://."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the other side ended it."""
        self._url = URL(base)
        self._tls = tls
        self._host = host
        self._held: _Silence | None = None
        self._brief = 0
        self._not_before = float("-inf")

    async def hold(self) -> None:
        """Connect, unless connected. If nothing listens, the next request will find out."""
        if self._held or time.monotonic() < self._not_before:
            return
        loop, encrypted = asyncio.get_running_loop(), self._url.scheme == "https"
        silence = self._held = _Silence(self._ended)
        try:
            await loop.create_connection(
                lambda: silence,
                self._url.host or "",
                self._url.port or 0,
                ssl=(self._tls() if self._tls else True) if encrypted else None,
                server_hostname=(self._host or self._url.host) if encrypted else None,
            )
        except BaseException as error:
            if self._held is silence:
                self._held = None
            if not isinstance(error, OSError):
                raise
        if self._held is not silence:
            silence.close()  # `close` was called while it connected

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        held, self._held = self._held, None
        if held:
            held.close()

    def _ended(self, silence: _Silence) -> None:
        if silence is not self._held:
            return
        self._held = None
        now = time.monotonic()
        self._brief = self._brief + 1 if now - silence.began_at < _BRIEF_SECONDS else 0
        if self._brief >= _BRIEF_MAX:
            self._brief, self._not_before = 0, now + _REST_SECONDS
        self.on_lost()


class _Silence(asyncio.Protocol):
    """Says nothing, and hears nothing."""

    def __init__(self, ended: Callable[[_Silence], None]) -> None:
        self.began_at = time.monotonic()
        self._ended = ended
        self._transport: asyncio.BaseTransport | None = None

    def close(self) -> None:
        """Close it."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Report that it ended."""
        self._ended(self)
