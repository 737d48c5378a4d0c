"""How many gateways there are, counted by heartbeats in Redis: they share the workers' windows.

Never on the way of a request. While Redis is away the last count stands.
"""

from __future__ import annotations

from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

BEAT_SECONDS = 1.5
"""How often a gateway says that it lives."""

_KEY = "gateway:live"
_SILENT_SECONDS_MAX = 5.0
_TIMEOUT_SECONDS = 1.0


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
            pipe.zadd(_KEY, {self._gateway_id: now})
            pipe.zremrangebyscore(_KEY, 0, now - _SILENT_SECONDS_MAX)
            pipe.zcard(_KEY)
            *_, count = await pipe.execute()
        self.gateways = max(1, count)

    async def stop(self) -> None:
        """Leave, and close the connections."""
        with suppress(RedisError, OSError):
            await self._redis.zrem(_KEY, self._gateway_id)
        await self._redis.aclose()
