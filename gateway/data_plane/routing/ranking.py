"""The ready workers of a pool in the order in which they would finish, so that few are looked at.

A worker's predicted time changes with its calls, with each observation, and with time alone. So
workers are sorted by the least that it can be until all are re-sorted, a moment later: a search for
the fastest can stop where no later worker can be faster. A worker that changed is moved to its new
place before the next query. Sums over all of them are kept as bounds, for callers that only need to
know that there is plenty.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Collection
from typing import NamedTuple

from gateway.data_plane.routing.worker import SLOW_DECAY_SECONDS, SLOW_MIN, Worker

_ORDER_SECONDS = 0.1
"""Time after which all are re-sorted: a slowdown fades by 2% in the meantime."""
_FADED = math.exp(-_ORDER_SECONDS / SLOW_DECAY_SECONDS)
_EQUAL = 1 - 1e-9
"""Times that differ by less are equal: the least recently used worker is taken."""


class Ranking:
    """Answers questions about the ready workers. Each change of a worker must reach `moved`."""

    def __init__(self, workers: Collection[Worker]) -> None:
        self._workers = workers
        self._order: list[Rank] = []
        self._places: dict[Worker, Rank] = {}
        self._slowdowns: list[float] = []
        """As they were when each worker was put into its place, in order."""
        self._moved: dict[Worker, None] = {}
        self._rested: set[Worker] = set()
        """Workers that have rested, or are resting now."""
        self._ordered_until = float("-inf")
        self._token_seconds_min = float("inf")
        self._rate = 0.0
        self._tokens = 0

    def moved(self, worker: Worker) -> None:
        """Note that a worker changed, came or left."""
        self._moved[worker] = None
        if worker.rest_until:
            self._rested.add(worker)

    def first(
        self, tokens: int, now: float, fits: Callable[[Worker, float], bool]
    ) -> Worker | None:
        """Return the worker that would finish this many more tokens first, among those that fit.

        `fits` is called with a worker and the seconds that it would take; among equals, the least
        recently used one is taken.
        """
        self._sort(now)
        best, least, used_at = None, float("inf"), float("inf")
        more = tokens * self._token_seconds_min
        for place in self._order:
            if place.seconds + more >= least * _EQUAL:
                break
            worker = place.worker
            seconds = worker.predicted(tokens, now)
            if (seconds, place.used_at) < (least, used_at) and fits(worker, seconds):
                best, least, used_at = worker, seconds, place.used_at
        return best

    def plenty(self, now: float) -> Plenty | None:
        """Return bounds on what the ready workers have and can do; None if one may have to rest."""
        self._sort(now)
        if not self._order or self._order[0].worker.rest_until > now:
            return None
        return Plenty(self._rate, self._tokens)

    def usual_slowdown_max(self, now: float) -> float:
        """Return an upper bound of the ready workers' median slowdown; at least 1."""
        self._sort(now)
        slowdowns = self._slowdowns
        return max(1.0, slowdowns[len(slowdowns) // 2]) if slowdowns else 1.0

    def usual_slowdown_min(self, now: float) -> float:
        """Return a lower bound of the median over all ready workers except any one."""
        self._sort(now)
        slowdowns = self._slowdowns
        return _faded(slowdowns[(len(slowdowns) - 2) // 2]) if len(slowdowns) > 1 else SLOW_MIN

    def next_rested(self, now: float) -> float:
        """Return when the next worker has rested; infinity if none does."""
        at = float("inf")
        for worker in tuple(self._rested):
            if worker.rest_until > now:
                at = min(at, worker.rest_until)
            else:
                self._rested.discard(worker)
        return at

    def _sort(self, now: float) -> None:
        if now > self._ordered_until:
            self._ordered_until = now + _ORDER_SECONDS
            self._order, self._slowdowns, self._places = [], [], {}
            self._token_seconds_min, self._rate, self._tokens = float("inf"), 0.0, 0
            self._moved = dict.fromkeys(self._workers)
        for worker in self._moved:
            self._take_out(worker)
            if worker.ready:
                self._put_in(worker, now)
        self._moved.clear()

    def _take_out(self, worker: Worker) -> None:
        place = self._places.pop(worker, None)
        if place is not None:
            del self._order[bisect_left(self._order, place)]
            del self._slowdowns[bisect_left(self._slowdowns, place.slowdown)]
            self._rate -= place.rate
            self._tokens -= place.tokens

    def _put_in(self, worker: Worker, now: float) -> None:
        speed = worker.speed
        slow = speed.slow(now)
        least = _faded(slow)
        rate = 1.0 / (speed.token_seconds * max(slow, 1.0))
        place = self._places[worker] = Rank(
            least * speed.expected(worker.tokens),
            worker.used_at,
            worker.number,
            worker,
            slow,
            rate,
            worker.tokens,
        )
        insort(self._order, place)
        insort(self._slowdowns, slow)
        self._token_seconds_min = min(self._token_seconds_min, least * speed.token_seconds)
        self._rate += rate
        self._tokens += worker.tokens


def _faded(slowdown: float) -> float:
    """Return the least that a slowdown can be before all are re-sorted: it moves toward 1."""
    return slowdown if slowdown <= 1.0 else 1.0 + (slowdown - 1.0) * _FADED


class Rank(NamedTuple):
    """A worker's place; the number distinguishes equals."""

    seconds: float
    """The least time in which it would finish what it has."""
    used_at: float
    number: int
    worker: Worker
    slowdown: float
    rate: float
    tokens: int


class Plenty(NamedTuple):
    """The least that the ready workers can do, and the most that they have."""

    rate: float
    """Tokens a second."""
    tokens: int
    """Tokens in flight."""
