"""Token buckets by name: how often each may do something, counted in this process."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import LRUCache

_NAMES_MAX = 50_000
"""Names beyond it push out those that came longest ago, whose buckets are full again."""


class Buckets:
    """A bucket for each name: full at first, and filled again within `seconds`."""

    def __init__(
        self, capacity: int, seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = float(capacity)
        self._refill = capacity / seconds
        self._clock = clock
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(_NAMES_MAX)

    def take(self, name: str, tokens: float = 1.0) -> float:
        """Take tokens and return 0; or take none, and return the seconds until there are enough."""
        now = self._clock()
        left = self._of(name, now)
        tokens = min(tokens, self._capacity)
        if left < tokens:
            return (tokens - left) / self._refill
        self._left[name] = (left - tokens, now)
        return 0.0

    def give_back(self, name: str) -> None:
        """Put one token back."""
        now = self._clock()
        self._left[name] = (min(self._capacity, self._of(name, now) + 1), now)

    def _of(self, name: str, now: float) -> float:
        left, since = self._left.get(name, (self._capacity, now))
        return min(self._capacity, left + (now - since) * self._refill)
