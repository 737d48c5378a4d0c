"""Keys that changed, announced between processes over Redis pub/sub.

Only a shortcut: every process also reads changes from the database, so a Redis that is away costs
half a second of latency, and nothing else waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

_CHANNEL = "gateway:keys-changed"
_TIMEOUT_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0


class KeyAnnouncements:
    """Sends and receives digests of changed keys. `start` and `stop` it with the application."""

    def __init__(self, url: str, forget: Callable[[bytes], None]) -> None:
        self._redis: Redis = Redis.from_url(url, socket_connect_timeout=_TIMEOUT_SECONDS)
        self._forget = forget
        self._listening: asyncio.Task[None] | None = None
        self.subscribed = asyncio.Event()
        """Set while announcements can be heard."""

    async def announce(self, digest: bytes) -> None:
        """Tell all processes; never raises, since the database tells them too."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._redis.publish(_CHANNEL, digest.hex())
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("key change not announced", reason=str(error))

    async def start(self) -> None:
        """Begin to listen."""
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening and close the connections."""
        if self._listening:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        await self._redis.aclose()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(_CHANNEL)
                    async for message in pubsub.listen():
                        self._hear(message)
            except (RedisError, OSError) as error:
                log.warning("key announcements lost", reason=str(error))
            self.subscribed.clear()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _hear(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe":
            self.subscribed.set()
        elif message["type"] == "message" and isinstance(data := message["data"], bytes):
            with suppress(ValueError):
                self._forget(bytes.fromhex(data.decode()))
