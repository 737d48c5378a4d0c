"""Shards that come back from workers without vectors: they are retried, or their request ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from backends.protocol import RequestRefused, WorkerBusy, WorkerLost, WorkerUnreachable
from gateway.data_plane.routing.calls import Calls, RetryBudget
from gateway.data_plane.routing.endings import Endings, note
from gateway.data_plane.routing.fair_queue import FairQueue
from gateway.data_plane.routing.request import Attempt, Request, Shard
from gateway.data_plane.routing.suspects import Suspects
from gateway.data_plane.routing.worker import TRUSTED, Worker


class Retries:
    """Puts shards back into the queue, within the budget of retries."""

    def __init__(
        self,
        queue: FairQueue,
        calls: Calls,
        endings: Endings,
        suspects: Suspects,
        budget: RetryBudget,
        *,
        counts: Counter[str],
        finish: Callable[[Request, Exception], None],
    ) -> None:
        self._queue = queue
        self._calls = calls
        self._endings = endings
        self._suspects = suspects
        self._budget = budget
        self._counts = counts
        self._finish = finish

    def after(self, attempt: Attempt, error: Exception, now: float) -> None:
        """Try the shards of a failed attempt again. Its worker has been judged."""
        worker = attempt.worker
        if isinstance(error, WorkerLost):
            self._suspects.blame(attempt)
        company = len(attempt.shards) > 1 or attempt.rider is not None
        self._counts["failed_in_company"] += company
        # retries after a worker was taken out are free: they are bounded by its calls in flight
        free = not worker.ready or isinstance(error, RequestRefused | WorkerBusy)
        homeless = []
        for shard in attempt.shards:
            if shard.open:
                note(shard, worker, error, company=company, cut=attempt.cut)
                homeless += [] if shard.attempts else [shard]  # or its double is still in flight
        paid = free or not homeless or self._budget.spend(now)
        for shard in homeless:
            self._again(shard, error, paid=paid)
            self._counts["retries"] += shard.open

    def take_back(
        self, worker: Worker, error: Exception | None = None, attempt: Attempt | None = None
    ) -> None:
        """Close the calls of a worker that is no longer trusted, and send their shards elsewhere.

        `error` is the reason, and `attempt` the call that found it; without one, its examination
        did. If the worker was lost, everything it had is suspected. If it could not be reached, it
        was lost with the calls made before: they were connected, or they would have noticed.
        """
        if worker.state in TRUSTED or not worker.calls:
            return

        def ended(other: Attempt) -> None:
            earlier = (
                other.number < attempt.number if attempt else other.started_at < worker.asked_at
            )
            gone = isinstance(error, WorkerUnreachable) and earlier
            if gone or isinstance(error, WorkerLost):
                self._suspects.blame(other)

        for shard in self._calls.take_back(worker, ended):
            shard.tried.add(worker)
            self._again(shard, error if shard.fatal else None, paid=True)

    def _again(self, shard: Shard, error: Exception | None, *, paid: bool) -> None:
        """Retry a shard, unless its error was the last one; None: it did not fail itself."""
        if error and (given_up := self._endings.given_up(shard, error, paid=paid)):
            self._finish(shard.request, given_up)
        elif shard.losses or shard.invalid > 1:
            self._suspects.hold(shard)
        else:
            self._queue.put_back(shard)
