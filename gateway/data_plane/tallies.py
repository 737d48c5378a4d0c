"""What is counted in memory for others to write down: answers, and calls to models not live yet.

Counting costs a request one look-up and one increment. What is counted is bounded: a request that
finds no room is served just the same. A process that dies takes the counts since its last drain
along: no money hangs on them.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

LATENCY_MS_MAX = 3_600_000
"""Stands for everything that is slower than the other bounds."""
BOUNDS_MS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000,
    5_000, 7_000, 10_000, 20_000, 30_000, 60_000, LATENCY_MS_MAX,
)  # fmt: skip
"""A latency is counted under the first bound that it does not pass."""

_HOUR_SECONDS = 3_600


class Entry(NamedTuple):
    """What is counted apart."""

    organization_id: str
    hour: int
    """Hours since 1970."""
    status_class: int
    """The first digit of the status."""
    latency_ms: int
    """One of BOUNDS_MS."""


class Answers(Protocol):
    """Who takes note of an answer."""

    def answered(self, organization_id: str, status: int, seconds: float) -> None:
        """Count one answer; never blocks, never raises."""
        ...


class AnswerCounter:
    """Counts answers between one `drain` and the next."""

    def __init__(self, *, entries_max: int, clock: Callable[[], float] = time.time) -> None:
        self._entries_max = entries_max
        self._clock = clock
        self._hour = self._now()
        self._counts: Counter[Entry] = Counter()

    def answered(self, organization_id: str, status: int, seconds: float) -> None:
        """Count one answer."""
        bound = min(bisect_left(BOUNDS_MS, seconds * 1000), len(BOUNDS_MS) - 1)
        self._add(Entry(organization_id, self._hour, status // 100, BOUNDS_MS[bound]), 1)

    def drain(self) -> Counter[Entry]:
        """Return what was counted, and begin again in the hour that it is now."""
        drained, self._counts = self._counts, Counter()
        self._hour = self._now()
        return drained

    def restore(self, counts: Counter[Entry]) -> None:
        """Take back what could not be written down."""
        for entry, count in counts.items():
            self._add(entry, count)

    def _add(self, entry: Entry, count: int) -> None:
        if entry in self._counts or len(self._counts) < self._entries_max:
            self._counts[entry] += count

    def _now(self) -> int:
        return int(self._clock()) // _HOUR_SECONDS


class Demand(Protocol):
    """Who takes note of a call."""

    def called(self, model_id: str, organization_id: str) -> None:
        """Count one call; never blocks, never raises."""
        ...


class DemandCounter:
    """Counts calls by model and organization, between one `drain` and the next."""

    def __init__(self, *, entries_max: int) -> None:
        self._entries_max = entries_max
        self._calls: Counter[tuple[str, str]] = Counter()

    def called(self, model_id: str, organization_id: str) -> None:
        """Count one call."""
        entry = (model_id, organization_id)
        if entry in self._calls or len(self._calls) < self._entries_max:
            self._calls[entry] += 1

    def drain(self) -> Counter[tuple[str, str]]:
        """Return what was counted, and begin again."""
        drained, self._calls = self._calls, Counter()
        return drained

    def restore(self, calls: Counter[tuple[str, str]]) -> None:
        """Take back what could not be written down."""
        for entry, count in calls.items():
            if entry in self._calls or len(self._calls) < self._entries_max:
                self._calls[entry] += count
