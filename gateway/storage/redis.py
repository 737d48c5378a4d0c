"""What gateways share through Redis: announcements of revoked keys, and who is alive.

Never on the way of a request, and never the truth: while Redis is away, keys are re-read from the
database when their time is over, and the last count of gateways holds.
"""

from __future__ import annotations

import asyncio
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
_PING_SECONDS = 2.0
"""Of silence, before it is asked whether anybody is there; as long again, and nobody is."""


class Hearing(Protocol):
    """Told whenever announcements begin or cease to be heard."""

    def __call__(self, *, others: bool) -> None:
        """Take note whether other processes can be heard."""
        ...


class _Silent(RedisError):
    """Redis does not answer a ping: a connection of which only our half is left."""


class Announcements:
    """Tells and hears bytes on channels. `start` and `stop` it with the application."""

    def __init__(
        self,
        url: str,
        hear: Mapping[str, Callable[[bytes], None]],
        hearing: Hearing = lambda *, others: None,  # noqa: ARG005 - nobody needs to know
    ) -> None:
        """`hear` is called for each message, by channel; those of this process come back too."""
        self._hearing = hearing
        self._redis: Redis = Redis.from_url(
            url, socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=2 * _PING_SECONDS
        )
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
                    await self._hear_all(pubsub)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("announcements lost", reason=str(error))
            self.subscribed.clear()
            self._hearing(others=False)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _hear_all(self, pubsub: PubSub) -> None:
        """Hear until the connection fails, which a silent one does too."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_PING_SECONDS)
            if message is not None:
                asked = False
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


class KeyAnnouncements(Announcements):
    """Digests of changed keys."""

    def __init__(self, url: str, forget: Callable[[bytes], None]) -> None:
        super().__init__(url, {_KEYS: forget})

    async def announce(self, digest: bytes) -> None:
        """Tell all processes; never raises, since the database tells them too."""
        await self.tell(_KEYS, digest)


BEAT_SECONDS = 1.5
"""How often a gateway says that it lives."""

_LIVE = "gateway:live"
_SILENT_SECONDS_MAX = 5.0


class Presence:
    """One gateway's heartbeat. Run `beat` as a job."""

    def __init__(self, url: str, gateway_id: str, *, expected: int) -> None:
        """`expected` is the count until Redis has told a better one."""
        self._redis: Redis = Redis.from_url(
            url, socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=_TIMEOUT_SECONDS
        )
        self._gateway_id = gateway_id
        self.gateways = expected

    async def beat(self) -> None:
        """Say that this one lives, forget those that fell silent, count. Raises RedisError."""
        seconds, microseconds = await self._redis.time()  # one clock for all gateways
        now = seconds + microseconds / 1e6
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(_LIVE, {self._gateway_id: now})
            pipe.zremrangebyscore(_LIVE, 0, now - _SILENT_SECONDS_MAX)
            pipe.zcard(_LIVE)
            *_, count = await pipe.execute()
        self.gateways = max(1, count)

    async def stop(self) -> None:
        """Leave, and close the connections."""
        with suppress(RedisError, OSError):
            await self._redis.zrem(_LIVE, self._gateway_id)
        await self._redis.aclose()
