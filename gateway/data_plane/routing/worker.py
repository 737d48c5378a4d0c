"""One worker as this gateway knows it: its state, what it has in hand, what is held against it."""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.data_plane.routing.speed import Speed

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.protocol import WorkerInfo
    from gateway.data_plane.routing.request import Attempt, Shard
    from gateway.data_plane.routing.settings import RoutingSettings


class State(enum.StrEnum):
    """Where a worker is on its way in or out. Only READY ones are given work."""

    DISCOVERED = "discovered"
    WARMING = "warming"
    """Nothing answers yet, or it says that it is not ready, or it is not what this pool serves."""
    CALIBRATING = "calibrating"
    READY = "ready"
    QUARANTINED = "quarantined"
    DRAINING = "draining"
    """By an operator's wish: finishes what it has, gets nothing new."""
    GONE = "gone"


NEW = frozenset({State.DISCOVERED, State.WARMING, State.CALIBRATING})
"""States of a worker that was never ready, or has to begin again."""
TRUSTED = frozenset({State.READY, State.DRAINING, State.GONE})
"""States in which what a worker still answers is believed."""


class Change(NamedTuple):
    """A change of state, for the log and the console."""

    at: float
    """On the dispatcher's clock, seconds."""
    state: State
    reason: str


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway workers list` shows."""

    url: str
    state: State
    reason: str
    revision: str
    tokens_in_flight: int
    calls_in_flight: int
    slowdown: float
    window_share: float
    limping: bool
    tokens_per_second: float
    ejections: int
    examinations: int
    history: tuple[Change, ...]


class Worker:
    """One worker. Changed by the dispatcher alone."""

    def __init__(
        self, url: str, settings: RoutingSettings, now: float, notify: Callable[[Worker], None]
    ) -> None:
        self.url = url
        self._notify = notify
        self._settings = settings
        self.state = State.DISCOVERED
        self.reason = "found"
        self.history: deque[Change] = deque(maxlen=settings.history_max)
        self.info: WorkerInfo | None = None
        self.speed = Speed(settings)
        self.calibrated = False
        # What it has in hand.
        self.tokens = 0
        self.calls = 0
        self.window_share = settings.window_share_start
        self.rest_until = 0.0
        self.used_at = now
        # What is held against it.
        self.faults_in_row = 0
        self.refusals = 0
        """Canaries that it refused since its last good answer."""
        self.answers: deque[bool] = deque(maxlen=settings.faults_window)
        self.answered_at = float("-inf")
        self.slow_since: float | None = None
        self.limping = False
        # Quarantine.
        self.ejections = 0
        self.examine_at = now
        self.examinations = 0
        self.passes = 0
        self.healthy_since = now

    @property
    def revision(self) -> str:
        """Revision of the model it serves; empty while unknown."""
        return self.info.revision if self.info else ""

    def enter(self, state: State, reason: str, now: float) -> None:
        """Change state."""
        self.state, self.reason = state, reason
        self.history.append(Change(now, state, reason))
        self._notify(self)

    def takes(self, shard: Shard) -> bool:
        """Whether it could compute the shard at all."""
        return (
            self.info is not None
            and shard.size <= self.info.rows_max
            and shard.tokens <= self.info.batch_tokens_max
        )

    @property
    def split_tokens(self) -> int:
        """Tokens of a full call: fewer for a slow worker, that a short text need not wait long."""
        settings = self._settings
        timely = int(settings.split_seconds_max / self.speed.token_seconds)
        return min(settings.split_tokens, max(settings.split_tokens_min, timely))

    def room(self, now: float, *, waiting_tokens: int, window_tokens: float) -> float:
        """Tokens that may be sent to it now; an idle worker takes any shard.

        Beyond the first calls another one must be full: what trickles in meanwhile leaves
        together, without a timer.
        """
        if now < self.rest_until or self.calls >= self._settings.calls_max:
            return 0.0
        if self.calls == 0:
            return float("inf")
        if self.limping:
            return 0.0
        if self.calls >= self._settings.calls_eager and waiting_tokens < self.split_tokens:
            return 0.0
        timely = self._settings.window_seconds_max / self.speed.token_seconds
        return min(window_tokens, timely) * self.window_share - self.tokens

    def predicted(self, tokens: int, now: float) -> float:
        """Seconds until it would have computed so many more tokens."""
        return self.speed.predicted(self.tokens + tokens, now)

    def late(self, tokens: int, deadline: float, now: float) -> bool:
        """Whether it would have computed so many more tokens only after a deadline."""
        return now + self.predicted(tokens, now) > deadline

    def begin(self, attempt: Attempt) -> None:
        """Count an attempt in."""
        self.tokens += attempt.tokens
        self.calls += 1
        self.used_at = attempt.started_at

    def end(self, attempt: Attempt) -> None:
        """Count it out."""
        self.tokens -= attempt.tokens
        self.calls -= 1
        assert self.tokens >= 0, f"{self.url} has {self.tokens} tokens in flight"
        assert self.calls >= 0, f"{self.url} has {self.calls} calls in flight"

    def answered(self, now: float) -> None:
        """Note a good answer."""
        self.answered_at = now
        self.faults_in_row = 0
        self.refusals = 0
        self.answers.append(True)
        self.window_share = min(1.0, self.window_share + self._settings.window_share_step)

    def faulted(self) -> bool:
        """Note a soft fault; true when there have been too many."""
        self.faults_in_row += 1
        self.answers.append(False)
        faults = self.answers.count(False)
        full = len(self.answers) == self._settings.faults_window
        return self.faults_in_row >= self._settings.faults_in_row_max or (
            full and faults > self._settings.faults_share_max * len(self.answers)
        )

    def busy(self, retry_after_seconds: float, now: float) -> None:
        """Note that it is alive and full."""
        settings = self._settings
        self.window_share = max(0.01, self.window_share * settings.busy_window_factor)
        rest = max(retry_after_seconds, settings.busy_seconds_min)
        self.rest_until = now + min(rest, settings.busy_seconds_max)

    def forgive(self) -> None:
        """Forget what was held against it: it has proven itself."""
        self.faults_in_row = 0
        self.refusals = 0
        self.answers.clear()
        self.rest_until = 0.0
        self.slow_since, self.limping = None, False

    def view(self, now: float) -> WorkerView:
        """Describe it."""
        return WorkerView(
            url=self.url,
            state=self.state,
            reason=self.reason,
            revision=self.revision,
            tokens_in_flight=self.tokens,
            calls_in_flight=self.calls,
            slowdown=self.speed.slow(now),
            window_share=self.window_share,
            limping=self.limping,
            tokens_per_second=self.speed.rate(now),
            ejections=self.ejections,
            examinations=self.examinations,
            history=tuple(self.history),
        )
