"""Doubles of calls that take too long. Embeddings are idempotent: the first answer wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.data_plane.routing.worker import State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.data_plane.routing.placement import Placement
    from gateway.data_plane.routing.request import Attempt, Shard
    from gateway.data_plane.routing.settings import RoutingSettings
    from gateway.data_plane.routing.worker import Worker


class Hedges:
    """Decides what is doubled, within a small share of all tokens sent."""

    def __init__(
        self, placement: Placement, workers: Collection[Worker], settings: RoutingSettings
    ) -> None:
        self._placement = placement
        self._workers = workers
        self._settings = settings
        self._sent_tokens = 0
        self._doubled_tokens = 0

    def sent(self, tokens: int, *, hedged: bool) -> None:
        """Count the tokens of a call."""
        self._sent_tokens += tokens
        self._doubled_tokens += tokens if hedged else 0

    def age(self, attempt: Attempt, now: float) -> float:
        """Return the age in seconds from which a call takes too long."""
        expected = attempt.worker.speed.predicted(attempt.work_tokens, now)
        return max(self._settings.hedge_seconds_min, self._settings.hedge_factor * expected)

    def second(self, attempt: Attempt, shards: Sequence[Shard], now: float) -> Worker | None:
        """Return a worker for the double of a call, or None when it should not be doubled."""
        if now - attempt.started_at < self.age(attempt, now):
            return None
        tokens = sum(shard.tokens for shard in shards)
        allowed = self._settings.hedge_share * self._sent_tokens + self._settings.split_tokens
        if self._doubled_tokens + tokens > allowed:
            return None
        able = [
            worker
            for worker in self._workers
            if worker.state is State.READY
            and worker is not attempt.worker
            and self._placement.room(worker, now) >= tokens
            and all(worker.takes(shard) and worker not in shard.tried for shard in shards)
        ]
        return min(able, key=lambda worker: worker.predicted(tokens, now), default=None)
