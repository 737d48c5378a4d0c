"""How often a visitor may do what costs resources.

`Limit` counts in one process, which is enough for what costs only CPU. `Quota` holds across all
processes: a window in the database lets no more through than its limit. It begins with the first
use and lasts an hour by the database's clock. One statement on one row counts a use, in a
transaction of its own, so counting waits for that row alone. A use stays counted even if its
request fails.

Each process remembers what it learned of a window, stops asking once the window is full, and has no
more questions open than the limit: per window, a flood costs the database at most twice as many
statements as the limit. While the database is down, so is what the quota guards, since that is
stored there too.

A quota of networks also counts for the wider networks around a visitor, whose limits are a few
times as high: one subscriber may have 65,536 networks of IPv6.

A row identifies nobody: it holds a digest under the deployment's secret, since IPv4 addresses are
few enough to try them all.
"""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cachetools import LRUCache
from litestar import Request
from sqlalchemy import ColumnElement, Interval, case, delete, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.buckets import Buckets
from gateway.errors import TooManyRequests, retry_after
from gateway.networks import client_address, visitor_network, wider_networks
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import quota_windows
from gateway.storage.tables.types import Instant


class TooOften(TooManyRequests):
    """A limit of the pages is reached. The message states the whole wait, however long."""

    def __init__(self, wait_seconds: float) -> None:
        seconds = math.ceil(wait_seconds)
        minutes = math.ceil(seconds / 60)
        wait = "a minute" if minutes <= 1 else f"{minutes} minutes"
        super().__init__(f"Too many requests. Try again in {wait}.", retry_after_seconds=seconds)
        self.headers = retry_after(seconds, seconds_max=seconds, spread=0.0)


class Limit:
    """Allows each visitor so many uses an hour, in this process."""

    def __init__(self, per_hour: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(per_hour, 3600, clock=clock)

    def take(self, visitor: str) -> None:
        """Count one use. Raises TooOften."""
        wait = self._buckets.take(visitor)
        if wait:
            raise TooOften(wait)


def visitor_of(request: Request[Any, Any, Any], *, proxies: int) -> str:
    """Return the network that a request came from: the address, or the /64 for IPv6."""
    peer = request.client.host if request.client else ""
    forwarded = request.headers.getall("x-forwarded-for", [""])
    return visitor_network(client_address(peer, forwarded, proxies=proxies))


WINDOW = timedelta(hours=1)

_REMEMBERED_MAX = 50_000
_AT_ONCE = 10_000
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class _Known:
    """What this process knows of a window; before the first answer, its latest possible end."""

    ends: float
    began_at: datetime = _NEVER
    used: int = 0
    asking: int = 0


class Quota:
    """Allows each visitor so many uses an hour, across all processes; `name` says of what.

    With `of_networks`, visitors are named by `visitor_network`, and the networks around them count
    too.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        per_hour: int,
        *,
        secret: str,
        of_networks: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._name = name
        self._limit = per_hour
        self._of_networks = of_networks
        self._secret = secret.encode()
        self._clock = clock
        self._known: LRUCache[str, _Known] = LRUCache(_REMEMBERED_MAX)

    async def take(self, visitor: str) -> None:
        """Count one use. Raises TooOften."""
        limits = {visitor: self._limit}
        if self._of_networks:
            limits |= {name: self._limit * share for name, share in wider_networks(visitor)}
        windows = {self._digest(name): (self._recall(name), most) for name, most in limits.items()}
        for known, most in windows.values():
            if known.used >= most or known.asking >= most:
                raise TooOften(known.ends - self._clock())
        for known, _ in windows.values():
            known.asking += 1
        try:
            async with self._database.write() as connection:
                counted = await _count(connection, sorted(windows))
        finally:
            for known, _ in windows.values():
                known.asking -= 1
        for digest, used, began_at, left in counted:
            known, _ = windows[digest]
            # answers may arrive out of order: keep the newest window, and its highest count
            if (began_at, used) > (known.began_at, known.used):
                known.began_at, known.used = began_at, used
                known.ends = self._clock() + left.total_seconds()
        over = [left for digest, used, _, left in counted if used > windows[digest][1]]
        if over:
            raise TooOften(max(over).total_seconds())

    def _recall(self, visitor: str) -> _Known:
        now = self._clock()
        known = self._known.get(visitor)
        if known is None or known.ends <= now:
            known = self._known[visitor] = _Known(now + WINDOW.total_seconds())
        return known

    def _digest(self, visitor: str) -> bytes:
        return hmac.digest(self._secret, f"{self._name}|{visitor}".encode(), "sha256")


async def forget_old(connection: AsyncConnection) -> int:
    """Delete some expired windows; return how many."""
    _, ended = _clock(connection)
    old = (
        select(quota_windows.c.digest)
        .where(quota_windows.c.began_at <= ended)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)  # a locked one is starting again
    )
    gone = await connection.execute(delete(quota_windows).where(quota_windows.c.digest.in_(old)))
    return gone.rowcount


class _Counted(NamedTuple):
    """A window after a use: its uses, its start, and the time that it lasts."""

    digest: bytes
    used: int
    began_at: datetime
    left: timedelta


async def _count(connection: AsyncConnection, digests: Sequence[bytes]) -> list[_Counted]:
    """Count a use in some windows, which are given in order, so that uses can't deadlock."""
    now, ended = _clock(connection)
    window = quota_windows.c
    is_over = window.began_at <= ended
    rows = [{"digest": digest, "began_at": now, "used": 1} for digest in digests]
    counted = insert_into(connection, quota_windows).values(rows)
    found = await connection.execute(
        counted.on_conflict_do_update(
            index_elements=["digest"],
            set_={
                "began_at": case((is_over, now), else_=window.began_at),
                "used": case((is_over, 1), else_=window.used + 1),
            },
        ).returning(window.digest, window.used, window.began_at, now.label("now"))
    )
    return [
        _Counted(bytes(row.digest), row.used, row.began_at, row.began_at + WINDOW - row.now)
        for row in found
    ]


def _clock(connection: AsyncConnection) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the database's time, and the start of a window that ends now.

    SQLite has no clock of its own: all of its processes share one machine's.
    """
    if connection.dialect.name == "postgresql":
        return func.now(type_=Instant), func.now() - literal(WINDOW, Interval)
    now = wall.now()
    return literal(now, Instant), literal(now - WINDOW, Instant)
