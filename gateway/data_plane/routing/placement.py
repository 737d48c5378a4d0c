"""Which worker gets which shards, and how long a call may take."""

from __future__ import annotations

from collections.abc import Callable, Collection
from statistics import median

from gateway.data_plane.routing.fair_queue import FairQueue
from gateway.data_plane.routing.ranking import Ranking
from gateway.data_plane.routing.request import CALL_FLOATS_MAX, Shard
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import Worker

_PATIENCE_FACTOR = 1.5
"""A worker slower than the best by this factor (and by the next bound) is left idle."""
_PATIENCE_SECONDS = 0.030
"""The difference in predicted time that is never worth waiting for."""
_COMPANY_SECONDS = 0.001
"""Work that takes a worker longer than this is not gathered into one call while another worker is
idle: a call costs us a tenth of that."""
_ATTEMPT_SECONDS_MIN = 0.5
"""The shortest timeout of an attempt, so that a hiccup is not a fault."""
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
        ranking: Ranking,
        settings: RoutingSettings,
        *,
        lag: Callable[[], float],
        gateways: Callable[[], int],
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._ranking = ranking
        self._settings = settings
        self._lag = lag
        self._gateways = gateways

    def choose(self, shard: Shard, now: float) -> Worker | None:
        """Return the worker that would finish first, or None if it is better to wait.

        It is the best of all, although few are looked at: the power of two choices is poor with few
        workers.
        """
        tokens, deadline, shunned = shard.tokens, shard.request.deadline, self._shunned(shard)

        def able(worker: Worker) -> bool:
            free = not (shard.losses and worker.suspects)
            return free and worker not in shunned and worker.takes(shard.size, tokens)

        best = self._ranking.first(
            tokens,
            now,
            lambda worker, seconds: (
                able(worker) and now + seconds <= deadline and self.room(worker, now) >= tokens
            ),
        )
        if best is None or best.predicted(tokens, now) <= _PATIENCE_SECONDS:
            return best
        fastest = self._ranking.first(
            tokens, now, lambda worker, _: able(worker) and now >= worker.rest_until
        )
        assert fastest is not None, "the best one is able and does not rest"
        patient = _PATIENCE_FACTOR * fastest.predicted(tokens, now) + _PATIENCE_SECONDS
        # better an idle slow worker than a late answer
        return best if best.predicted(tokens, now) <= patient else None

    def hopeless(self, shard: Shard, now: float) -> bool:
        """Whether no ready worker could finish in time, even if it got the shard now."""
        fastest = self._ranking.first(
            shard.tokens,
            now,
            lambda worker, _: (
                worker not in shard.refusals and worker.takes(shard.size, shard.tokens)
            ),
        )
        return fastest is not None and fastest.late(shard.tokens, shard.request.deadline, now)

    def _shunned(self, shard: Shard) -> Collection[Worker]:
        """Return the workers that refused or tried a shard, as long as there are others."""
        if not shard.tried:
            return shard.refusals
        shunned = shard.tried | shard.refusals.keys()
        if any(worker not in shunned for worker in self.ready(shard)):
            return shunned
        return shard.refusals

    def ready(self, shard: Shard) -> list[Worker]:
        """Return the ready workers that can hold the shard, now or later."""
        return [w for w in self._workers if w.ready and w.takes(shard.size, shard.tokens)]

    def takes(self, shard: Shard) -> bool:
        """Whether any ready worker can hold the shard, now or later."""
        return any(w.ready and w.takes(shard.size, shard.tokens) for w in self._workers)

    def fill(self, worker: Worker, now: float) -> list[Shard]:
        """Take the next shard from the queue, and those after it that fit into the same call."""
        info = worker.info
        assert info is not None, "a worker is chosen only when it is known"
        room = min(worker.split_tokens, info.batch_tokens_max, self.room(worker, now))
        first = self._queue.take()
        shards, tokens, rows, floats = [first], first.tokens, first.size, first.floats
        deadline = first.request.deadline
        while not first.alone and (head := self._queue.peek()) is not None:
            tokens, rows = tokens + head.tokens, rows + head.size
            floats += head.floats
            fits = tokens <= room and rows <= info.rows_max and floats <= CALL_FLOATS_MAX
            deadline = min(deadline, head.request.deadline)
            if not fits or worker.late(tokens, deadline, now):
                break
            if head.alone or head.tried or not worker.takes(head.size, head.tokens):
                break
            takes_time = worker.speed.token_seconds * tokens > _COMPANY_SECONDS
            if takes_time and self._idle(head, worker, now):
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

    def _idle(self, shard: Shard, worker: Worker, now: float) -> bool:
        """Whether another worker has nothing to do and could take a shard."""
        other = self._ranking.first(
            shard.tokens,
            now,
            lambda other, _: (
                not other.calls
                and other is not worker
                and other.takes(shard.size, shard.tokens)
                and now >= other.rest_until
            ),
        )
        return other is not None

    def timeout(self, worker: Worker, work_tokens: int, now: float) -> float:
        """Seconds that an attempt may take, by the calibrated line and the pool's median slowdown.

        The worker's own slowdown is left out: a sick worker must not extend its own timeout.
        """
        fair = _ATTEMPT_FACTOR * worker.speed.expected(work_tokens)
        if fair * self._ranking.usual_slowdown_max(now) > _ATTEMPT_SECONDS_MIN:
            slows = [w.speed.slow(now) for w in self._workers if w.ready]
            fair *= max(1.0, median(slows)) if slows else 1.0
        return max(_ATTEMPT_SECONDS_MIN, fair) + _ATTEMPT_LAG_FACTOR * self._lag()
