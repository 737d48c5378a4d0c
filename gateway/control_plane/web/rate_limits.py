"""How often a visitor may do what costs others something.

`Limit` counts in one process: enough for what costs only CPU. `Quota` holds over all processes:
one window in the database lets no more through than its limit. It begins with the first use and
lasts for an hour by the database's clock; one statement on one row counts a use, in a transaction
of its own, so nobody who counts waits for anything but that row. What was counted stays counted,
whatever becomes of the request.

Each process remembers what it learnt of a window and asks no further once that is full, nor more
than the limit at once: a flood costs the database at most twice the limit of statements a window.
When the database does not answer, neither does what the quota stands before: it is written there.

A row names nobody. IPv4 addresses are few enough to try them all, so a row holds a digest under
the deployment's secret.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cachetools import LRUCache
from litestar import Request
from sqlalchemy import ColumnElement, Interval, case, delete, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import TooManyRequests, retry_after
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import quota_windows
from gateway.storage.tables.types import Instant

_BUCKETS_MAX = 50_000


class TooOften(TooManyRequests):
    """A limit of the pages is reached. People are told the whole wait, not a minute at most."""

    def __init__(self, wait_seconds: float) -> None:
        seconds = math.ceil(wait_seconds)
        minutes = math.ceil(seconds / 60)
        wait = "a minute" if minutes <= 1 else f"{minutes} minutes"
        super().__init__(
            f"That was a little too often. Try again in {wait}.", retry_after_seconds=seconds
        )
        self.headers = retry_after(seconds, seconds_max=seconds)


class Limit:
    """So many times an hour for each visitor, and no more than that at once."""

    def __init__(self, per_hour: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_hour)
        self._refill = per_hour / 3600
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(_BUCKETS_MAX)

    def take(self, visitor: str) -> None:
        """Count one use. Raises TooOften."""
        now = self._clock()
        left, since = self._buckets.get(visitor, (self._capacity, now))
        left = min(self._capacity, left + (now - since) * self._refill)
        taken = left >= 1
        self._buckets[visitor] = (left - taken, now)
        if not taken:
            raise TooOften((1 - left) / self._refill)


def visitor_of(request: Request[Any, Any, Any], *, proxies: int) -> str:
    """Return the network address that a request came from.

    Behind `proxies` proxies of our own the address is that many places from the right of
    X-Forwarded-For: what stands further left was written by the visitor.
    """
    address = request.client.host if request.client else ""
    if proxies:
        # a proxy may add a line of its own below the one that it was sent
        hops = ",".join(request.headers.getall("x-forwarded-for", [""])).split(",")
        if len(hops) >= proxies:
            address = hops[-proxies].strip()
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:  # how a socket for both writes those who came by IPv4
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


WINDOW = timedelta(hours=1)

_REMEMBERED_MAX = 50_000
_AT_ONCE = 10_000
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class _Known:
    """What this process knows of a window; until the first answer, when it ends at the latest."""

    ends: float
    began_at: datetime = _NEVER
    used: int = 0
    asking: int = 0


class Quota:
    """So many times an hour for each visitor, over all processes; `name` says what."""

    def __init__(
        self,
        database: Database,
        name: str,
        per_hour: int,
        *,
        secret: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._name = name
        self._limit = per_hour
        self._secret = secret.encode()
        self._clock = clock
        self._known: LRUCache[str, _Known] = LRUCache(_REMEMBERED_MAX)

    async def take(self, visitor: str) -> None:
        """Count one use. Raises TooOften."""
        known = self._recall(visitor)
        if known.used >= self._limit or known.asking >= self._limit:
            raise TooOften(known.ends - self._clock())
        known.asking += 1
        try:
            async with self._database.write() as connection:
                used, began_at, left = await _count(connection, self._digest(visitor))
        finally:
            known.asking -= 1
        # answers overtake one another: the newest window counts, and the most that is used of it
        if (began_at, used) > (known.began_at, known.used):
            known.began_at, known.used = began_at, used
            known.ends = self._clock() + left.total_seconds()
        if used > self._limit:
            raise TooOften(left.total_seconds())

    def _recall(self, visitor: str) -> _Known:
        now = self._clock()
        known = self._known.get(visitor)
        if known is None or known.ends <= now:
            known = self._known[visitor] = _Known(now + WINDOW.total_seconds())
        return known

    def _digest(self, visitor: str) -> bytes:
        return hmac.digest(self._secret, f"{self._name}|{visitor}".encode(), "sha256")


async def forget_old(connection: AsyncConnection) -> int:
    """Remove some windows that are over; return how many."""
    _, ended = _clock(connection)
    old = (
        select(quota_windows.c.digest)
        .where(quota_windows.c.began_at <= ended)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)  # one that begins anew at this moment is not over
    )
    gone = await connection.execute(delete(quota_windows).where(quota_windows.c.digest.in_(old)))
    return gone.rowcount


async def _count(connection: AsyncConnection, digest: bytes) -> tuple[int, datetime, timedelta]:
    """Count a use; return the uses of its window, its begin and its rest."""
    now, ended = _clock(connection)
    window = quota_windows.c
    is_over = window.began_at <= ended
    counted = insert_into(connection, quota_windows).values(digest=digest, began_at=now, used=1)
    row = await connection.execute(
        counted.on_conflict_do_update(
            index_elements=["digest"],
            set_={
                "began_at": case((is_over, now), else_=window.began_at),
                "used": case((is_over, 1), else_=window.used + 1),
            },
        ).returning(window.used, window.began_at, now.label("now"))
    )
    used, began_at, at = row.one()
    return used, began_at, began_at + WINDOW - at


def _clock(connection: AsyncConnection) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the database's time, and when a window began that ends now.

    SQLite has no clock but that of the machine that all of its processes are on.
    """
    if connection.dialect.name == "postgresql":
        return func.now(type_=Instant), func.now() - literal(WINDOW, Interval)
    now = datetime.now(UTC)
    return literal(now, Instant), literal(now - WINDOW, Instant)
