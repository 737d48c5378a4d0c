"""Virtual time: events run in order, without waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class VirtualClock:
    """Runs scheduled functions in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0

    def at(self, when: float, run: Callable[[], None]) -> None:
        """Schedule a function for a time, seconds."""
        self._sequence += 1
        heapq.heappush(self._events, (max(when, self.now), self._sequence, run))

    def run(self, until: float) -> None:
        """Run what is due until a time, seconds."""
        while self._events and self._events[0][0] <= until:
            self.now, _, run = heapq.heappop(self._events)
            run()
        self.now = until
