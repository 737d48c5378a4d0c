"""What requests count in memory for a background job to write down: answers, and demand.

Counting costs a request one lookup and one increment, never blocks and never raises. A tally is
bounded: past its bound new entries are not counted, and the request is served just the same. A
process that dies loses what it counted since the last drain; no money depends on it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from gateway import wall

EntryT = TypeVar("EntryT", bound=Hashable)

LATENCY_MS_MAX = 3_600_000
"""Stands for everything slower than the other bounds."""
BOUNDS_MS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000,
    5_000, 7_000, 10_000, 20_000, 30_000, 60_000, LATENCY_MS_MAX,
)  # fmt: skip
"""A latency is counted under the first bound that it does not exceed."""

_HOUR_SECONDS = 3_600


class Tally(Generic[EntryT]):
    """Counts how often each entry occurred since the last drain, for at most `entries_max`."""

    def __init__(self, *, entries_max: int) -> None:
        self._entries_max = entries_max
        self._counts: Counter[EntryT] = Counter()

    def add(self, entry: EntryT, count: int = 1) -> None:
        """Count an entry, if there is room for it."""
        if entry in self._counts or len(self._counts) < self._entries_max:
            self._counts[entry] += count

    def drain(self) -> Counter[EntryT]:
        """Return the counts and start over."""
        drained, self._counts = self._counts, Counter()
        return drained

    @contextmanager
    def draining(self) -> Iterator[Counter[EntryT]]:
        """Hand the counts to the block; if it raises, add them back."""
        counts = self.drain()
        try:
            yield counts
        except BaseException:
            for entry, count in counts.items():
                self.add(entry, count)
            raise


class AnswerEntry(NamedTuple):
    """Answers of one organization, hour, status class and latency are counted together."""

    organization_id: str
    hour: int
    """Hours since 1970."""
    status_class: int
    """The first digit of the status."""
    latency_ms: int
    """One of BOUNDS_MS."""


class AnswerTally(Tally[AnswerEntry]):
    """Counts the answers of /v1. The hour is that of the last drain."""

    def __init__(self, *, entries_max: int, clock: Callable[[], float] = wall.unix_time) -> None:
        super().__init__(entries_max=entries_max)
        self._clock = clock
        self._hour = self._now()

    def answered(self, organization_id: str, status: int, seconds: float) -> None:
        """Count one answer."""
        bound = min(bisect_left(BOUNDS_MS, seconds * 1000), len(BOUNDS_MS) - 1)
        self.add(AnswerEntry(organization_id, self._hour, status // 100, BOUNDS_MS[bound]))

    def drain(self) -> Counter[AnswerEntry]:
        """Return the counts and start over, in the current hour."""
        self._hour = self._now()
        return super().drain()

    def _now(self) -> int:
        return int(self._clock()) // _HOUR_SECONDS


DemandTally = Tally[tuple[str, str]]
"""Counts calls to models that are not live yet, by model and organization."""

NameTally = Tally[str]
"""Counts calls to models that nobody knows, by the name that was sent."""
