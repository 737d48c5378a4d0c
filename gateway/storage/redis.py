"""What gateways share through Redis: messages, such as revoked keys, and how many gateways live.

No request waits for Redis, and nothing depends on it: while it is unavailable, processes learn of
revoked keys from the database, and the last count of gateways holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

log = structlog.get_logger()

_KEYS = "gateway:keys-changed"
_TIMEOUT_SECONDS = 1.0
_RECONNECT_SECONDS = 1.0
_CANCEL_SECONDS = 0.1
_PING_SECONDS = 2.0
"""Silence after which Redis is pinged; after as long again without an answer, it is lost."""

_LIVE = "gateway:live"
_SILENT_SECONDS_MAX = 5.0


class Channels:
    """Sends and receives bytes on channels. `start` and `stop` it with the application."""

    def __init__(
        self,
        url: str,
        hear: Mapping[str, Callable[[bytes], None]],
        hearing: Hearing = lambda *, others: None,  # noqa: ARG005 - not of interest by default
    ) -> None:
        """`hear` holds a callback for each channel; messages of this process come back too."""
        self._hearing = hearing
        self._redis = _client(url, answer_seconds=2 * _PING_SECONDS)
        self._hearers = hear
        self._listening: asyncio.Task[None] | None = None
        self.subscribed = asyncio.Event()
        """Set while messages can be received."""
        self.heard_at = time.monotonic()
        """When anything last came of Redis; first, when this was made."""

    async def tell(self, channel: str, message: bytes) -> None:
        """Send a message to all processes. Never raises."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._redis.publish(channel, message.hex())
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("not announced", channel=channel, reason=str(error))

    async def start(self) -> None:
        """Start to listen."""
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening and close the connections."""
        while self._listening and not self._listening.done():
            # again and again: while it connects, the package may swallow a cancellation
            self._listening.cancel()
            await asyncio.wait([self._listening], timeout=_CANCEL_SECONDS)
        await self._redis.aclose()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(*self._hearers)
                    await self._hear_all(pubsub)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("announcements lost", reason=str(error))
            self.subscribed.clear()
            self._hearing(others=False)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _hear_all(self, pubsub: PubSub) -> None:
        """Receive messages until the connection fails. One that falls silent fails too."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_PING_SECONDS)
            if message is not None:
                asked, self.heard_at = False, time.monotonic()
                self._hear(message)
            elif asked:
                raise _Silent("no answer to a ping")
            else:
                asked = True
                await pubsub.ping()

    def _hear(self, message: dict[str, object]) -> None:
        if message["type"] == "subscribe" and message["data"] == len(self._hearers):
            self.subscribed.set()
            self._hearing(others=True)
        elif message["type"] == "message":
            channel, data = message["channel"], message["data"]
            assert isinstance(channel, bytes)
            assert isinstance(data, bytes)
            try:
                self._hearers[channel.decode()](bytes.fromhex(data.decode()))
            except ValueError:
                pass  # of another version
            except Exception:
                log.exception("an announcement was not taken", channel=channel.decode())


class KeyAnnouncements(Channels):
    """The digests of changed keys."""

    def __init__(self, url: str, forget: Callable[[bytes], None]) -> None:
        super().__init__(url, {_KEYS: forget})

    async def announce(self, digest: bytes) -> None:
        """Send a digest to all processes. Never raises: they learn it from the database too."""
        await self.tell(_KEYS, digest)


class Presence:
    """The heartbeat of a gateway, and the count of those that live. Run `beat` as a job."""

    BEAT_SECONDS = 1.5
    """How often a gateway reports that it lives."""

    def __init__(self, url: str, gateway_id: str, *, expected: int) -> None:
        """`expected` is the count until the first beat."""
        self._redis = _client(url, answer_seconds=_TIMEOUT_SECONDS)
        self._gateway_id = gateway_id
        self.gateways = expected

    async def beat(self) -> None:
        """Report that this gateway lives, drop silent ones, and count. Raises RedisError."""
        seconds, microseconds = await self._redis.time()  # one clock for all gateways
        now = seconds + microseconds / 1e6
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(_LIVE, {self._gateway_id: now})
            pipe.zremrangebyscore(_LIVE, 0, now - _SILENT_SECONDS_MAX)
            pipe.zcard(_LIVE)
            *_, count = await pipe.execute()
        self.gateways = max(1, count)

    async def stop(self) -> None:
        """Leave the count and close the connections."""
        with suppress(RedisError, OSError):
            await self._redis.zrem(_LIVE, self._gateway_id)
        await self._redis.aclose()


class Hearing(Protocol):
    """Called whenever messages can, or can no longer, be received."""

    def __call__(self, *, others: bool) -> None:
        """Say whether messages of other processes are received now."""
        ...


class _Silent(RedisError):
    """Redis doesn't answer a ping: the other end of the connection is gone."""


def _client(url: str, *, answer_seconds: float) -> Redis:
    client: Redis = Redis.from_url(
        url, socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=answer_seconds
    )
    return client
