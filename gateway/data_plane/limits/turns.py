"""When refused callers should come back: one after the other, as places become free.

If all got the same time, they would all come back at once and most would be refused again; an SDK
gives up after two retries. So each gets its own time, after those who were refused before it, at
half the pace at which places become free, because others want them too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

_HELD_SECONDS_GUESS = 0.5
"""How long a place is assumed to be held, before any was measured."""
_HELD_SECONDS_MIN = 0.1
"""Below this the clients' own time counts for more."""
_WEIGHT = 0.2
"""Of the latest time for which a place was held, in the average."""
_MARGIN = 2.0
_WAIT_SECONDS_MIN = 0.05
_WAIT_SECONDS_MAX = 60.0
"""Clients don't take a longer wait seriously."""
_CALLERS_MAX = 4_096
"""Callers whose turns are remembered."""


class Turns:
    """Deals out turns, separately for each caller."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.clock = clock
        self._uniform = uniform
        self._held_seconds: float | None = None
        self._next: dict[str, float] = {}
        """When each caller's next turn begins."""

    def held(self, seconds: float) -> None:
        """Learn for how long a place was held."""
        known = self._held_seconds
        self._held_seconds = seconds if known is None else known + _WEIGHT * (seconds - known)

    def wait_seconds(self, caller: str, places: int) -> float:
        """Return how long to wait for the next turn at this many places."""
        now = self.clock()
        if len(self._next) >= _CALLERS_MAX:
            self._next = {who: at for who, at in self._next.items() if at > now}
        held = _HELD_SECONDS_GUESS if self._held_seconds is None else self._held_seconds
        pace = _MARGIN * max(held, _HELD_SECONDS_MIN) / max(places, 1)
        begins = max(now + _WAIT_SECONDS_MIN, self._next.get(caller, now))
        if begins + pace > now + _WAIT_SECONDS_MAX:  # too many for an order among them
            return self._uniform(_WAIT_SECONDS_MAX / 2, _WAIT_SECONDS_MAX)
        if caller in self._next or len(self._next) < _CALLERS_MAX:
            self._next[caller] = begins + pace
        return begins - now + self._uniform(0.0, pace / 2)
