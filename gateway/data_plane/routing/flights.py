"""The calls in flight of one pool: begun, doubled when they take too long, measured, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.data_plane.routing.request import Attempt, Shard

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from gateway.data_plane.routing.hedges import Hedges
    from gateway.data_plane.routing.placement import Placement
    from gateway.data_plane.routing.shell import Shell
    from gateway.data_plane.routing.worker import Worker

_TIMEOUT_SECONDS_MIN = 0.001


class Flights:
    """Each attempt is counted in and out here, exactly once."""

    def __init__(
        self,
        shell: Shell,
        placement: Placement,
        hedges: Hedges,
        counts: Counter[str],
        lag: Callable[[], float],
    ) -> None:
        self._shell = shell
        self._placement = placement
        self._hedges = hedges
        self._counts = counts
        self._lag = lag
        self._flying: dict[Attempt, None] = {}

    def __len__(self) -> int:
        return len(self._flying)

    def start(
        self, shards: Sequence[Shard], worker: Worker, now: float, *, hedged: bool = False
    ) -> None:
        """Send shards to a worker in one call."""
        tokens = sum(shard.tokens for shard in shards)
        work = worker.tokens + tokens
        left = max(shard.request.deadline for shard in shards) - now
        fair = self._placement.timeout(worker, work, now)
        attempt = Attempt(
            worker=worker,
            shards=shards,
            tokens=tokens,
            work_tokens=work,
            started_at=now,
            timeout_seconds=max(min(left, fair), _TIMEOUT_SECONDS_MIN),
            cut=left < fair,
            hedged=hedged,
        )
        for shard in shards:
            shard.attempts.append(attempt)
        worker.begin(attempt)
        self._flying[attempt] = None
        self._counts["attempts"] += 1
        self._hedges.sent(tokens, hedged=hedged)
        self._shell.launch(attempt)

    def end(self, attempt: Attempt) -> None:
        """Count an attempt out: whatever still comes of it is ignored."""
        attempt.over = True
        del self._flying[attempt]
        attempt.worker.end(attempt)
        for shard in attempt.shards:
            shard.attempts.remove(attempt)

    def abandon(self, attempt: Attempt, now: float) -> None:
        """Give up a call that nobody waits for any more."""
        self.end(attempt)
        if now - attempt.started_at > self._hedges.age(attempt, now):
            # given up before its timeout: that proves nothing, but hides nothing either
            self.measure(attempt, now)
            self._shell.examine(attempt.worker)
        self._shell.abandon(attempt)

    def take_back(self, worker: Worker) -> list[Shard]:
        """Give up all calls to a worker; returns the shards that must go elsewhere."""
        homeless = []
        for attempt in [attempt for attempt in self._flying if attempt.worker is worker]:
            self.end(attempt)
            self._shell.abandon(attempt)
            homeless += [shard for shard in attempt.shards if shard.open and not shard.attempts]
        return homeless

    def double(self, now: float) -> None:
        """Send the calls that take too long to a second worker, where that may help."""
        for attempt in tuple(self._flying):
            if attempt.hedged or attempt.over:
                continue
            shards = [shard for shard in attempt.shards if shard.open]
            worker = self._hedges.second(attempt, shards, now)
            if worker is not None:
                attempt.hedged = True
                self._counts["hedges"] += 1
                self.start(shards, worker, now, hedged=True)

    def measure(self, attempt: Attempt, now: float) -> None:
        """Let a worker's speed learn from an attempt; our own loop's lateness is taken off."""
        seconds = now - attempt.started_at - self._lag()
        attempt.worker.speed.observe(max(seconds, 0.0), attempt.work_tokens, now)
