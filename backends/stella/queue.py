"""What waits to be computed: bounded in tokens, shared out fairly.

A call waits as a `Job` of rows. `take` fills a batch up to a token budget in two passes over the
jobs, oldest first: in the first each job gets an equal share of the budget (one row at least), in
the second the oldest take what is left. So a short call rides in the next batch beside a long
one, and the oldest job moves in every batch: neither waits for the other for ever.

Jobs whose caller has gone or whose deadline has passed are dropped here, before they cost time.
All methods may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from backends.engine import DeadlinePassed, EngineBusy
from backends.protocol import TokenRow


class Job:
    """One call: its rows, and what has become of them."""

    def __init__(
        self,
        rows: Sequence[TokenRow],
        deadline: float,
        settle: Callable[[Job, BaseException | None], None],
    ) -> None:
        self.rows = rows
        self.deadline = deadline
        self.settle = settle
        """Called once, from any thread: all rows are computed, or it failed with this."""
        self.vectors = [b""] * len(rows)
        self.taken = 0
        self.finished = 0
        self.tokens_waiting = sum(row.tokens for row in rows)
        self.arrived_at = self.started_at = time.monotonic()


class Slot(NamedTuple):
    """One row in a batch."""

    job: Job
    place: int
    """Which row of the job."""

    @property
    def row(self) -> TokenRow:
        """What is to be computed."""
        return self.job.rows[self.place]


class TokenQueue:
    """Holds at most `tokens_max` tokens that aren't being computed yet."""

    def __init__(self, tokens_max: int) -> None:
        self.tokens_max = tokens_max
        self.tokens_waiting = 0
        self._jobs: dict[Job, None] = {}  # a set that keeps the order of arrival
        self._changed = threading.Condition()
        self._closed: BaseException | None = None

    def put(self, job: Job, retry_after_seconds: Callable[[int], float]) -> None:
        """Append the job. Raises EngineBusy when it doesn't fit, or what the queue closed with."""
        with self._changed:
            if self._closed is not None:
                raise self._closed
            waiting = self.tokens_waiting
            if waiting + job.tokens_waiting > self.tokens_max:
                raise EngineBusy(
                    f"{waiting} of {self.tokens_max} tokens wait already",
                    retry_after_seconds(waiting),
                )
            self._jobs[job] = None
            self.tokens_waiting += job.tokens_waiting
            self._changed.notify()

    def take(self, budget: int) -> list[Slot]:
        """Wait until there is work, then fill one batch; empty when the queue has closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed is not None:
                    return []
                expired = self._drop_expired()
                batch = self._fill(budget)
            for job in expired:
                job.settle(job, DeadlinePassed())
            if batch:
                return batch

    def drop(self, job: Job) -> None:
        """Forget a job that nobody waits for; what is being computed of it stays so."""
        with self._changed:
            if job in self._jobs:
                self._remove(job)

    def close(self, reason: BaseException) -> None:
        """Fail everything that waits, and everything that will come, with `reason`."""
        with self._changed:
            self._closed = reason
            jobs = list(self._jobs)
            self._jobs.clear()
            self.tokens_waiting = 0
            self._changed.notify_all()
        for job in jobs:
            job.settle(job, reason)

    def _drop_expired(self) -> list[Job]:
        now = time.monotonic()
        expired = [job for job in self._jobs if job.deadline < now]
        for job in expired:
            self._remove(job)
        return expired

    def _fill(self, budget: int) -> list[Slot]:
        batch: list[Slot] = []
        left = budget
        share = budget // max(len(self._jobs), 1)
        for allowance in (share, budget):
            for job in list(self._jobs):
                left -= self._draw(job, min(allowance, left), left, batch)
                if left <= 0:
                    return batch
        return batch

    def _draw(self, job: Job, allowance: int, left: int, batch: list[Slot]) -> int:
        """Move rows of a job into the batch: as many as the allowance holds, one if any fits."""
        drawn = 0
        while job.taken < len(job.rows):
            tokens = job.rows[job.taken].tokens
            fits = drawn + tokens <= allowance or (drawn == 0 and tokens <= left)
            if not fits and batch:
                break
            if job.taken == 0:
                job.started_at = time.monotonic()
            batch.append(Slot(job, job.taken))
            job.taken += 1
            job.tokens_waiting -= tokens
            self.tokens_waiting -= tokens
            drawn += tokens
        if job.taken == len(job.rows):
            del self._jobs[job]
        return drawn

    def _remove(self, job: Job) -> None:
        del self._jobs[job]
        self.tokens_waiting -= job.tokens_waiting
