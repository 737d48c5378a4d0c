"""A GPU worker: rows are computed first in, first out, in batches of so many tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.sim.clock import VirtualClock

TOKENS_PER_SECOND = 150_000.0
BATCH_TOKENS = 16_384
BATCH_SECONDS = 0.003
"""Time of a batch on top of its tokens."""
_FAILURE_SECONDS = 0.001


@dataclass(slots=True, eq=False)
class Job:
    """A call: the tokens of its rows not yet computed, and a function for its end."""

    rows: deque[int]
    done: Callable[[bool], None]
    cancelled: bool = False


class Engine:
    """One worker. `slowness` multiplies its time; `broken` makes it fail in 1 ms."""

    def __init__(self, clock: VirtualClock, *, slowness: float = 1.0, broken: bool = False) -> None:
        self._clock = clock
        self.slowness = slowness
        self.broken = broken
        self._queue: deque[Job] = deque()
        self._busy = False
        self.requests = 0
        self.tokens = 0
        """Accepted, not yet computed."""
        self.computed_tokens = 0

    def call(self, rows: list[int], done: Callable[[bool], None]) -> Job:
        """Compute rows of so many tokens, then call `done(True)`, or `done(False)` on failure."""
        job = Job(deque(rows), done)
        if self.broken:
            self._clock.at(self._clock.now + _FAILURE_SECONDS, lambda: self._failed(job))
            return job
        self.requests += 1
        self.tokens += sum(rows)
        self._queue.append(job)
        if not self._busy:
            self._batch()
        return job

    def cancel(self, job: Job) -> None:
        """Skip the rows of a call that are not computed yet."""
        job.cancelled = True
        self.tokens -= sum(job.rows)
        if job.rows:
            self.requests -= 1
        job.rows.clear()

    def _failed(self, job: Job) -> None:
        if not job.cancelled:
            job.done(False)

    def _batch(self) -> None:
        self._busy = True
        tokens, finished = 0, []
        while self._queue:
            job = self._queue[0]
            while job.rows and (not tokens or tokens + job.rows[0] <= BATCH_TOKENS):
                tokens += job.rows.popleft()
            if job.rows:
                break
            finished.append(self._queue.popleft())
        seconds = (BATCH_SECONDS + tokens / TOKENS_PER_SECOND) * self.slowness
        self._clock.at(self._clock.now + seconds, lambda: self._computed(tokens, finished))

    def _computed(self, tokens: int, finished: list[Job]) -> None:
        self.tokens -= tokens
        self.computed_tokens += tokens
        self._busy = False
        for job in finished:
            if not job.cancelled:
                self.requests -= 1
                job.done(True)
        if self._queue and not self._busy:
            self._batch()
