"""What requests count in memory for a background job to write down: answers, errors and demand.

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

import msgspec

from gateway import wall

EntryT = TypeVar("EntryT", bound=Hashable)

LATENCY_MS_MAX = 3_600_000
"""Stands for everything slower than the other bounds."""
BOUNDS_MS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000,
    5_000, 7_000, 10_000, 20_000, 30_000, 60_000, LATENCY_MS_MAX,
)  # fmt: skip
"""A latency is counted under the first bound that it does not exceed."""

ERRORS_FROM = 400
"""The lowest status of an error."""
_LAST = len(BOUNDS_MS) - 1
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


class AnswerEntry(msgspec.Struct, frozen=True, order=True, gc=False):
    """Answers of one key, hour, model, status class and latency are counted together."""

    organization_id: str
    hour: int
    """Hours since 1970."""
    key_id: str
    model_id: str
    """Empty if the request ended before its model was known."""
    status_class: int
    """The first digit of the status."""
    latency_ms: int
    """One of BOUNDS_MS."""


class ErrorEntry(msgspec.Struct, frozen=True, order=True, gc=False):
    """Errors of one organization, hour, key, model, status and code are counted together."""

    organization_id: str
    hour: int
    key_id: str
    model_id: str
    status: int
    code: str
    """One of ours: no client can make one up."""


class AnswerCounts(NamedTuple):
    """What was counted between two drains."""

    answers: Counter[AnswerEntry]
    errors: Counter[ErrorEntry]


class AnswerTally:
    """Counts the answers of /v1, and the errors among them. The hour is that of the last drain."""

    def __init__(self, *, entries_max: int, clock: Callable[[], float] = wall.unix_time) -> None:
        """`entries_max` bounds the answers and, apart from them, the errors."""
        self._answers = Tally[AnswerEntry](entries_max=entries_max)
        self._errors = Tally[ErrorEntry](entries_max=entries_max)
        self._clock = clock
        self._hour = self._now()

    def answered(
        self,
        organization_id: str,
        key_id: str,
        model_id: str,
        status: int,
        code: str,
        seconds: float,
    ) -> None:
        """Count one answer."""
        hour = self._hour
        bound = BOUNDS_MS[bisect_left(BOUNDS_MS, seconds * 1000, 0, _LAST)]
        self._answers.add(
            AnswerEntry(organization_id, hour, key_id, model_id, status // 100, bound)
        )
        if status >= ERRORS_FROM:
            self._errors.add(ErrorEntry(organization_id, hour, key_id, model_id, status, code))

    def drain(self) -> AnswerCounts:
        """Return the counts and start over, in the current hour."""
        self._hour = self._now()
        return AnswerCounts(self._answers.drain(), self._errors.drain())

    @contextmanager
    def draining(self) -> Iterator[AnswerCounts]:
        """Hand the counts to the block; if it raises, add them back."""
        self._hour = self._now()
        with self._answers.draining() as answers, self._errors.draining() as errors:
            yield AnswerCounts(answers, errors)

    def _now(self) -> int:
        return int(self._clock()) // _HOUR_SECONDS


DemandTally = Tally[tuple[str, str]]
"""Counts calls to models that are not live yet, by model and organization."""

NameTally = Tally[str]
"""Counts calls to models that nobody knows, by the name that was sent."""
