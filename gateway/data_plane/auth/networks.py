"""How often each network may try API keys that only the database could know."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import LRUCache

from gateway.errors import TooManyRequests

_NETWORKS_MAX = 50_000
_SECONDS = 60.0


class TooManyUnknownKeys(TooManyRequests):
    """Your network has tried too many API keys that do not exist."""

    code = "too_many_unknown_keys"
    remedy = "Create a new key in the console: newer keys are recognized without being looked up."


class UnknownKeys:
    """Counts tries by network: a bucket each, full at first and filled again in a minute."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._refill = per_minute / _SECONDS
        self._clock = clock
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(_NETWORKS_MAX)

    def take(self, network: str) -> None:
        """Count one try. Raises TooManyUnknownKeys."""
        now = self._clock()
        left = self._left(network, now)
        if left < 1:
            raise TooManyUnknownKeys(
                "This key has to be looked up, and too many keys from this network were looked up "
                "that do not exist. It may be valid: try again, or create a new one.",
                retry_after_seconds=(1 - left) / self._refill,
            )
        self._buckets[network] = (left - 1, now)

    def give_back(self, network: str) -> None:
        """Take back one try: the key exists, or nobody could tell."""
        now = self._clock()
        self._buckets[network] = (min(self._capacity, self._left(network, now) + 1), now)

    def _left(self, network: str, now: float) -> float:
        left, since = self._buckets.get(network, (self._capacity, now))
        return min(self._capacity, left + (now - since) * self._refill)
