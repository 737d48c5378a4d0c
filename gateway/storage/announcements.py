"""What processes tell one another over Redis pub/sub: keys that changed, workers that are suspect.

Only a shortcut: each process finds out by itself too, so a Redis that is away costs time alone,
and nothing else waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

_KEYS = "gateway:keys-changed"
_TIMEOUT_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0


class Announcements:
    """Tells and hears bytes on channels. `start` and `stop` it with the application."""

    def __init__(self, url: str, hear: Mapping[str, Callable[[bytes], None]]) -> None:
        """`hear` is called for each message, by channel; those of this process come back too."""
        self._redis: Redis = Redis.from_url(url, socket_connect_timeout=_TIMEOUT_SECONDS)
        self._hearers = hear
        self._listening: asyncio.Task[None] | None = None
        self.subscribed = asyncio.Event()
        """Set while announcements can be heard."""

    async def tell(self, channel: str, message: bytes) -> None:
        """Tell all processes; never raises."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._redis.publish(channel, message.hex())
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("not announced", channel=channel, reason=str(error))

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
                    await pubsub.subscribe(*self._hearers)
                    async for message in pubsub.listen():
                        self._hear(message)
            except (RedisError, OSError) as error:
                log.warning("announcements lost", reason=str(error))
            self.subscribed.clear()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _hear(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe" and message["data"] == len(self._hearers):
            self.subscribed.set()
        elif message["type"] == "message":
            channel, data = message["channel"], message["data"]
            assert isinstance(channel, bytes)
            assert isinstance(data, bytes)
            with suppress(ValueError):
                self._hearers[channel.decode()](bytes.fromhex(data.decode()))


class KeyAnnouncements(Announcements):
    """Digests of changed keys."""

    def __init__(self, url: str, forget: Callable[[bytes], None]) -> None:
        super().__init__(url, {_KEYS: forget})

    async def announce(self, digest: bytes) -> None:
        """Tell all processes; never raises, since the database tells them too."""
        await self.tell(_KEYS, digest)
