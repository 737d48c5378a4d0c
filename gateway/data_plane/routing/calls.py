"""The calls in flight of one pool: started, doubled when they take too long, measured, ended.

Embeddings are idempotent: of a call and its double the first answer wins. Doubles are bounded by a
share of all tokens sent, and retries by a budget, so that neither multiplies the load when
everything fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from backends.protocol import TokenRow
from gateway.data_plane.routing.placement import Placement
from gateway.data_plane.routing.request import CALL_FLOATS_MAX, Attempt, Shard
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.witnesses import ROW_TOKENS_MAX, Rider, Witnesses
from gateway.data_plane.routing.worker import Worker

_TIMEOUT_SECONDS_MIN = 0.001
_HEDGE_FACTOR = 3.0
"""A call older than this multiple of its predicted time is doubled elsewhere."""
_HEDGE_SECONDS_MIN = 0.2
"""The youngest call that is doubled."""
_HEDGE_SHARE = 0.02
"""Share of all tokens that may be spent on doubles."""
_RETRIES_PER_ANSWER = 0.1


class Calls:
    """Counts each attempt in and out, exactly once."""

    def __init__(
        self,
        shell: Shell,
        placement: Placement,
        workers: Collection[Worker],
        settings: RoutingSettings,
        witnesses: Witnesses,
        counts: Counter[str],
        lag: Callable[[], float],
    ) -> None:
        self._shell = shell
        self._placement = placement
        self._workers = workers
        self._settings = settings
        self._witnesses = witnesses
        self._counts = counts
        self._lag = lag
        self._flying: dict[Attempt, None] = {}
        self._sent_tokens = 0
        self._doubled_tokens = 0

    @property
    def flying(self) -> bool:
        """Whether any call is in flight."""
        return bool(self._flying)

    def start(
        self, shards: Sequence[Shard], worker: Worker, now: float, *, hedged: bool = False
    ) -> None:
        """Send shards to a worker in one call."""
        tokens = sum(shard.tokens for shard in shards)
        rows, rider, witnesses = _rows(shards), None, self._witnesses
        if (witnesses.urgent or self._sent_tokens >= witnesses.ride_at) and not hedged:
            rows, rider = self._with_rider(shards, rows, worker, tokens)
            tokens += rider.known.row.tokens if rider else 0
        work = worker.tokens + tokens
        left = max(shard.request.deadline for shard in shards) - now
        fair = self._placement.timeout(worker, work, now)
        attempt = Attempt(
            worker=worker,
            shards=shards,
            rows=rows,
            doubts=worker.answerers.doubts,
            rider=rider,
            tokens=tokens,
            work_tokens=work,
            number=self._counts["attempts"],
            started_at=now,
            timeout_seconds=max(min(left, fair), _TIMEOUT_SECONDS_MIN),
            cut=left < fair,
            suspect=shards[0].losses > 0,
            hedged=hedged,
        )
        for shard in shards:
            shard.attempts.append(attempt)
        worker.begin(tokens, now)
        worker.suspects += attempt.suspect
        self._flying[attempt] = None
        self._counts["attempts"] += 1
        self._sent_tokens += tokens
        self._doubled_tokens += tokens if hedged else 0
        self._shell.launch(attempt)

    def _with_rider(
        self, shards: Sequence[Shard], rows: Sequence[TokenRow], worker: Worker, tokens: int
    ) -> tuple[Sequence[TokenRow], Rider | None]:
        """Put a row with a known vector into a call, if there is one and there is room."""
        floats = sum(shard.floats for shard in shards) + rows[0].dimensions
        if floats > CALL_FLOATS_MAX or any(shard.alone or shard.losses for shard in shards):
            return rows, None
        if not worker.takes(len(rows) + 1, tokens + ROW_TOKENS_MAX):
            return rows, None
        rider = self._witnesses.rider(worker, rows, self._sent_tokens)
        if rider is None:
            return rows, None
        return [*rows[: rider.place], rider.known.row, *rows[rider.place :]], rider

    def end(self, attempt: Attempt) -> None:
        """Count an attempt out: anything that still arrives for it is ignored."""
        attempt.over = True
        del self._flying[attempt]
        attempt.worker.suspects -= attempt.suspect
        attempt.worker.end(attempt.tokens)
        for shard in attempt.shards:
            shard.attempts.remove(attempt)

    def abandon(self, attempt: Attempt, now: float) -> None:
        """Close a call that no request needs anymore."""
        self.end(attempt)
        if now - attempt.started_at > self._age_max(attempt, now):
            # closed before its timeout: that proves nothing, but hides nothing either
            self.measure(attempt, now)
            self._shell.examine(attempt.worker)
        self._shell.abandon(attempt)

    def take_back(self, worker: Worker, ended: Callable[[Attempt], None]) -> list[Shard]:
        """Close all calls to a worker; returns the shards that must go elsewhere."""
        homeless = []
        for attempt in [attempt for attempt in self._flying if attempt.worker is worker]:
            self.end(attempt)
            ended(attempt)
            self._shell.abandon(attempt)
            homeless += [shard for shard in attempt.shards if shard.open and not shard.attempts]
        return homeless

    def double(self, now: float) -> None:
        """Send calls that take too long to a second worker as well, if that may help."""
        for attempt in tuple(self._flying):
            if attempt.hedged or attempt.suspect or attempt.over:
                continue
            shards = [shard for shard in attempt.shards if shard.open]
            worker = self._second(attempt, shards, now)
            if worker is not None:
                attempt.hedged = True
                self._counts["hedges"] += 1
                self.start(shards, worker, now, hedged=True)

    def measure(self, attempt: Attempt, now: float) -> None:
        """Update a worker's speed from an attempt, minus our own loop's lateness."""
        seconds = now - attempt.started_at - self._lag()
        attempt.worker.speed.observe(max(seconds, 0.0), attempt.work_tokens, now)

    def _age_max(self, attempt: Attempt, now: float) -> float:
        """Age in seconds from which a call takes too long."""
        expected = attempt.worker.speed.predicted(attempt.work_tokens, now)
        return max(_HEDGE_SECONDS_MIN, _HEDGE_FACTOR * expected)

    def _second(self, attempt: Attempt, shards: Sequence[Shard], now: float) -> Worker | None:
        """Choose a worker for the double of a call, or None when it should not be doubled."""
        if now - attempt.started_at < self._age_max(attempt, now):
            return None
        tokens = sum(shard.tokens for shard in shards)
        allowed = _HEDGE_SHARE * self._sent_tokens + self._settings.split_tokens
        if self._doubled_tokens + tokens > allowed:
            return None
        able = [
            worker
            for worker in self._workers
            if worker.ready
            and worker is not attempt.worker
            and self._placement.room(worker, now) >= tokens
            and all(
                worker.takes(shard.size, shard.tokens) and worker not in shard.tried
                for shard in shards
            )
        ]
        return min(able, key=lambda worker: worker.predicted(tokens, now), default=None)


def _rows(shards: Sequence[Shard]) -> Sequence[TokenRow]:
    if len(shards) == 1:
        return shards[0].rows
    return [row for shard in shards for row in shard.rows]


class Shell(Protocol):
    """What the core needs from outside: `pool` in production, virtual time in the simulator.

    No method may call the core before it returns.
    """

    def launch(self, attempt: Attempt) -> None:
        """Make the call; tell the dispatcher how it ended by `succeed` or `fail`."""
        ...

    def abandon(self, attempt: Attempt) -> None:
        """Close the call: no request needs it."""
        ...

    def examine(self, worker: Worker) -> None:
        """Examine this worker now: something about it is suspicious."""
        ...

    def changed(self, worker: Worker) -> None:
        """Publish that a worker changed its state; `worker.reason` says why."""
        ...

    def soon(self) -> None:
        """Call `pump` at the end of this turn of the loop, `quiet` if it had little else to do.

        And at the end of the next ones, as long as the dispatcher is `gathering`.
        """
        ...

    def wake(self, at: float) -> None:
        """Call `pump` at this time, or at an earlier requested time."""
        ...


class RetryBudget:
    """A bucket of retries, refilled by answers and over time."""

    def __init__(self, settings: RoutingSettings, now: float) -> None:
        self._settings = settings
        self._left = settings.retries_max
        self._at = now

    def earn(self) -> None:
        """Count an answer."""
        self._left = min(self._settings.retries_max, self._left + _RETRIES_PER_ANSWER)

    def spend(self, now: float) -> bool:
        """Take one retry; false when there is none."""
        refill = (now - self._at) * self._settings.retries_per_second
        self._left = min(self._settings.retries_max, self._left + refill)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
