"""How often one visitor may do what costs us time alone: token buckets in memory.

A bucket belongs to an address of the network, a /64 for IPv6. The number of buckets is bounded;
the one that was not used for longest goes first, and by then it is full again. Each process
counts for itself: the calculator and the playground, which this is for, touch no database, and what
they cost is the time of the process that they ask. What must hold across processes is counted in
the database (`quotas`; mails to one address in `accounts.links`).
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from litestar import Request

from gateway.errors import TooManyRequests, retry_after

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
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, visitor: str) -> None:
        """Count one use. Raises TooOften."""
        now = self._clock()
        left, since = self._buckets.pop(visitor, (self._capacity, now))
        left = min(self._capacity, left + (now - since) * self._refill)
        taken = left >= 1
        self._buckets[visitor] = (left - taken, now)
        if len(self._buckets) > _BUCKETS_MAX:
            self._buckets.popitem(last=False)
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
