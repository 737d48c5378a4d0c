"""Valkey or Redis: it can be reached, and carries messages between processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.cli.checks.findings import QUESTION_SECONDS, Finding, error, ok, warning
from gateway.settings import Settings

ABOUT = "redis"
_CHANNEL = "gateway:check"
_VERSION_MIN = 7


async def redis(settings: Settings) -> AsyncIterator[Finding]:
    """Connect, sign in and send a message that nobody hears."""
    if not settings.redis_url:
        if settings.gateways > 1:
            yield warning(ABOUT, "REDIS_URL is not set: other gateways notice changes by polling")
        else:
            yield ok(ABOUT, "REDIS_URL is not set; a single gateway doesn't need it")
        return
    parts = urlsplit(settings.redis_url)
    where = f"{parts.hostname}:{parts.port or 6379}"
    try:
        client: Redis = Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=QUESTION_SECONDS,
            socket_timeout=QUESTION_SECONDS,
        )
    except ValueError as failure:
        yield error(ABOUT, f"REDIS_URL: {failure}")
        return
    try:
        server = await client.info("server")
        await client.publish(_CHANNEL, "")
    except (RedisError, OSError) as failure:
        yield error(ABOUT, f"{where}: {failure}")
        return
    finally:
        await client.aclose()
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = str(server.get("valkey_version", server["redis_version"]))
    told = f"{where} is reached: {name} {version}"
    if int(version.partition(".")[0]) < _VERSION_MIN:
        yield warning(ABOUT, f"{told}; it is tested with {_VERSION_MIN} and newer")
    else:
        yield ok(ABOUT, told)
