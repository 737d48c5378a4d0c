"""Which worker gets which shards, and how long a call may take."""

from __future__ import annotations

from collections.abc import Callable, Collection
from statistics import median

from gateway.data_plane.routing.fair_queue import FairQueue
from gateway.data_plane.routing.request import Shard
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import Worker

_PATIENCE_FACTOR = 1.5
"""A worker slower than the best by this factor (and the next bound) is left idle."""
_PATIENCE_SECONDS = 0.030
"""The difference in predicted time that is never worth waiting for."""
_ATTEMPT_SECONDS_MIN = 0.5
"""The shortest timeout of an attempt, so that a hiccup is no fault."""
_ATTEMPT_FACTOR = 8.0
"""Timeout of an attempt as a multiple of its calibrated time."""
_ATTEMPT_LAG_FACTOR = 20.0
"""Seconds of timeout added for each second by which our own event loop is late."""


class Placement:
    """The choice among the workers of one pool."""

    def __init__(
        self,
        queue: FairQueue,
        workers: Collection[Worker],
        settings: RoutingSettings,
        *,
        lag: Callable[[], float],
        gateways: Callable[[], int],
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._settings = settings
        self._lag = lag
        self._gateways = gateways

    def choose(self, shard: Shard, now: float) -> Worker | None:
        """Return the worker that would finish first, or None if it is better to wait.

        All workers are compared: power of two choices is poor with few of them.
        """
        able = [w for w in self.ready(shard) if w not in shard.refusals]
        able = [w for w in able if w not in shard.tried] or able
        roomy = [
            w
            for w in able
            if self.room(w, now) >= shard.tokens
            and not w.late(shard.tokens, shard.request.deadline, now)
        ]
        if not roomy:
            return None
        best = min(roomy, key=lambda w: (w.predicted(shard.tokens, now), w.used_at))
        fastest = min(w.predicted(shard.tokens, now) for w in able if now >= w.rest_until)
        patient = _PATIENCE_FACTOR * fastest + _PATIENCE_SECONDS
        # better an idle slow worker than a late answer
        return best if best.predicted(shard.tokens, now) <= patient else None

    def hopeless(self, shard: Shard, now: float) -> bool:
        """Whether no ready worker could finish in time, even if it got the shard now."""
        ready = [w for w in self.ready(shard) if w not in shard.refusals]
        deadline = shard.request.deadline
        return bool(ready) and all(w.late(shard.tokens, deadline, now) for w in ready)

    def ready(self, shard: Shard) -> list[Worker]:
        """Return the ready workers that can hold the shard, now or later."""
        return [w for w in self._workers if w.ready and w.takes(shard.size, shard.tokens)]

    def fill(self, worker: Worker, now: float) -> list[Shard]:
        """Take the next shard from the queue, and those after it that fit into the same call."""
        info = worker.info
        assert info is not None, "a worker is chosen only when it is known"
        room = min(worker.split_tokens, info.batch_tokens_max, self.room(worker, now))
        first = self._queue.take()
        shards, tokens, rows = [first], first.tokens, first.size
        deadline = first.request.deadline
        while not first.alone and (head := self._queue.peek()) is not None:
            tokens, rows = tokens + head.tokens, rows + head.size
            fits = tokens <= room and rows <= info.rows_max
            deadline = min(deadline, head.request.deadline)
            if not fits or worker.late(tokens, deadline, now):
                break
            if head.alone or head.tried or not worker.takes(head.size, head.tokens):
                break
            shards.append(self._queue.take())
        return shards

    def room(self, worker: Worker, now: float) -> float:
        """Tokens that may be sent to a worker now; the window is shared by all gateways."""
        return worker.room(
            now,
            waiting_tokens=self._queue.tokens,
            window_tokens=self._settings.window_tokens / max(1, self._gateways()),
        )

    def timeout(self, worker: Worker, work_tokens: int, now: float) -> float:
        """Seconds that an attempt may take, by the calibrated line and the pool's median slowdown.

        The worker's own slowdown is left out: a sick worker must not extend its own timeout.
        """
        slows = [w.speed.slow(now) for w in self._workers if w.ready]
        usual = max(1.0, median(slows)) if slows else 1.0
        fair = _ATTEMPT_FACTOR * worker.speed.expected(work_tokens) * usual
        return max(_ATTEMPT_SECONDS_MIN, fair) + _ATTEMPT_LAG_FACTOR * self._lag()
