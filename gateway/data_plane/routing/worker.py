"""One worker as this gateway sees it: its state, its speed, its calls, and what counts against it.

Its predicted time is a line (seconds = a + b * tokens), calibrated when it is taken in, times a
slowdown factor: an average of observed over predicted that rises fast, falls slowly and fades with
time, so that a slow worker is tried and measured again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

from backends.protocol import WorkerInfo
from gateway.data_plane.routing.answerers import Answerers
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.snapshots import WorkerChange, WorkerState, WorkerView

SPLIT_TOKENS_MIN = 512
"""Shards for a slow worker are not made smaller than this: each call has its own cost."""
EJECT_FACTOR = 20.0
"""Slower than the others' median by this: quarantine."""
WINDOW_SHARE_START = 0.25
"""Share of the window after admission: slow start."""
CALLS_MAX = 12
"""Calls in flight at a worker, whatever their size; fewer than its client's connections."""
BUSY_SECONDS_MAX = 5.0
"""The longest rest of a busy worker; one that asks for more is tried again anyway."""
HISTORY_MAX = 16
"""Changes of state that are remembered."""

_SPLIT_SECONDS_MAX = 0.1
"""A shard takes no longer than this if its size can be adjusted: a CPU needs smaller ones."""
_WINDOW_SHARE_STEP = 0.05
"""What each good answer adds to the share of the window."""
_BUSY_WINDOW_FACTOR = 0.7
"""What a 429 or 503 leaves of the share."""
_BUSY_SECONDS_MIN = 0.02
"""The shortest rest of a busy worker."""
_FAULTS_IN_ROW_MAX = 3
"""Soft faults in a row that put a worker into quarantine."""
_FAULTS_WINDOW = 20
"""The last answers among which soft faults are counted."""
_FAULTS_SHARE_MAX = 0.5
"""Share of soft faults among them that puts a worker into quarantine."""

_TOKEN_SECONDS_MIN = 1e-7
"""Ten million tokens a second: no engine is faster, and capacity stays finite."""
SLOW_MIN, _SLOW_MAX = 0.5, 1000.0
SLOW_DECAY_SECONDS = 5.0
"""Time constant with which a slowdown fades."""
_SLOW_UP, _SLOW_DOWN = 0.5, 0.2
"""Weights of an observation above the slowdown factor, and of one below it."""
_SLOW_NOISE_SECONDS = 0.005
"""Times below this are all the same: they measure the network and our own loop."""

NEW = frozenset({WorkerState.DISCOVERED, WorkerState.WARMING, WorkerState.CALIBRATING})
"""States of a worker that was never ready, or has to begin again."""
TRUSTED = frozenset({WorkerState.READY, WorkerState.DRAINING, WorkerState.GONE})
"""States in which an answer that is still under way is trusted."""


_numbers = count()


class Worker:
    """One worker. Only the dispatcher's parts change it."""

    def __init__(
        self,
        url: str,
        settings: RoutingSettings,
        now: float,
        *,
        notify: Callable[[Worker], None],
        moved: Callable[[Worker], None],
    ) -> None:
        """`notify` gets each new state, `moved` all that changes when it would finish."""
        self.url = url
        self.number = next(_numbers)
        """The lower, the older."""
        self._notify = notify
        self._moved = partial(moved, self)
        self._settings = settings
        self.state = WorkerState.DISCOVERED
        self.reason = "found"
        self.history: deque[WorkerChange] = deque(maxlen=HISTORY_MAX)
        self.info: WorkerInfo | None = None
        self.answerers = Answerers()
        self.speed = Speed(self._moved)
        self.calibrated = False
        # what is in flight
        self.tokens = 0
        self.calls = 0
        self.suspects = 0
        """Calls with rows that a worker was computing when it was lost."""
        self.window_share = WINDOW_SHARE_START
        self.rest_until = 0.0
        self.used_at = now
        # what counts against it
        self.faults_in_row = 0
        self.failures = 0
        """Examinations that it failed since its last good answer."""
        self.answers: deque[bool] = deque(maxlen=_FAULTS_WINDOW)
        self.answered_at = float("-inf")
        self.slow_since: float | None = None
        self.limping = False
        self.disproved = False
        """Its vectors were not those of a golden row, or of others; see `witnesses`."""
        # quarantine
        self.ejections = 0
        self.examine_at = now
        self.asked_at = float("-inf")
        """When its last examination began."""
        self.examinations = 0
        self.proved_at: float | None = None
        """When it last passed a canary."""
        self.passes = 0
        self.healthy_since = now

    @property
    def ready(self) -> bool:
        """Whether it may be given work."""
        return self.state is WorkerState.READY

    @property
    def revision(self) -> str:
        """Revision of the model it serves; empty while unknown."""
        return self.info.revision if self.info else ""

    def enter(self, state: WorkerState, reason: str, now: float) -> None:
        """Change its state."""
        self.state, self.reason = state, reason
        self.history.append(WorkerChange(now, state, reason))
        self._moved()
        self._notify(self)

    def takes(self, rows: int, tokens: int) -> bool:
        """Whether one call can hold this many rows and tokens at all."""
        info = self.info
        return info is not None and rows <= info.rows_max and tokens <= info.batch_tokens_max

    @property
    def split_tokens(self) -> int:
        """Tokens of a full call: fewer for a slow worker, so that a short text waits less."""
        timely = int(_SPLIT_SECONDS_MAX / self.speed.token_seconds)
        return min(self._settings.split_tokens, max(SPLIT_TOKENS_MIN, timely))

    def room(self, now: float, *, waiting_tokens: int, window_tokens: float) -> float:
        """Tokens that may be sent to it now; an idle worker takes any shard.

        After the first few calls the next one must be full: what arrives in the meantime is sent
        together.
        """
        if now < self.rest_until or self.calls >= CALLS_MAX or self.answerers.doubted:
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
        """Seconds until it would have computed this many more tokens."""
        return self.speed.predicted(self.tokens + tokens, now)

    def late(self, tokens: int, deadline: float, now: float) -> bool:
        """Whether it would have computed this many more tokens only after a deadline."""
        return now + self.predicted(tokens, now) > deadline

    def begin(self, tokens: int, now: float) -> None:
        """Count a call in."""
        self.tokens += tokens
        self.calls += 1
        self.used_at = now
        self._moved()

    def end(self, tokens: int) -> None:
        """Count a call out."""
        self.tokens -= tokens
        self.calls -= 1
        self._moved()
        assert self.tokens >= 0, f"{self.url} has {self.tokens} tokens in flight"
        assert self.calls >= 0, f"{self.url} has {self.calls} calls in flight"

    def answered(self, now: float) -> None:
        """Record a good answer."""
        self.answered_at = now
        self.faults_in_row = 0
        self.failures = 0
        self.answers.append(True)
        self.window_share = min(1.0, self.window_share + _WINDOW_SHARE_STEP)

    def faulted(self) -> bool:
        """Record a soft fault; true when there have been too many."""
        self.faults_in_row += 1
        self.answers.append(False)
        faults = self.answers.count(False)
        full = len(self.answers) == _FAULTS_WINDOW
        return self.faults_in_row >= _FAULTS_IN_ROW_MAX or (
            full and faults > _FAULTS_SHARE_MAX * len(self.answers)
        )

    def busy(self, retry_after_seconds: float, now: float) -> None:
        """Record that it is alive and full."""
        self.window_share = max(0.01, self.window_share * _BUSY_WINDOW_FACTOR)
        rest = max(retry_after_seconds, _BUSY_SECONDS_MIN)
        self.rest_until = now + min(rest, BUSY_SECONDS_MAX)
        self._moved()

    def forgive(self) -> None:
        """Clear what counts against it: it has proven itself."""
        self.disproved = False
        self.faults_in_row = 0
        self.failures = 0
        self.answers.clear()
        self.rest_until = 0.0
        self.slow_since, self.limping = None, False

    def view(self, now: float) -> WorkerView:
        """Return what others may see of it."""
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
            proved_seconds=None if self.proved_at is None else now - self.proved_at,
        )


class Speed:
    """The predicted time of one worker."""

    def __init__(self, moved: Callable[[], None] = lambda: None) -> None:
        """`moved` is told about each change that time alone doesn't cause."""
        self._moved = moved
        self.base_seconds = 0.005
        self.token_seconds = 1e-5
        self.samples = 0
        """Observations since the last reset."""
        self._factor = 1.0
        self._at = 0.0

    def calibrate(self, base_seconds: float, token_seconds: float) -> None:
        """Set the line."""
        self.base_seconds = max(base_seconds, 0.0)
        self.token_seconds = max(token_seconds, _TOKEN_SECONDS_MIN)
        self._moved()

    def expected(self, tokens: int) -> float:
        """Seconds for this many tokens when the worker is healthy."""
        return self.base_seconds + self.token_seconds * tokens

    def slow(self, now: float) -> float:
        """Return the slowdown factor: 1 is as calibrated."""
        if self._factor == 1.0:
            return 1.0
        return 1.0 + (self._factor - 1.0) * math.exp((self._at - now) / SLOW_DECAY_SECONDS)

    def predicted(self, tokens: int, now: float) -> float:
        """Seconds for this many tokens in the worker's current state."""
        return self.slow(now) * self.expected(tokens)

    def rate(self, now: float) -> float:
        """Tokens per second in the worker's current state."""
        return 1.0 / (self.token_seconds * self.slow(now))

    def observe(self, seconds: float, tokens: int, now: float) -> None:
        """Learn from an answer, or from the age at which a call was abandoned."""
        noise = _SLOW_NOISE_SECONDS
        ratio = max(seconds, noise) / max(self.expected(tokens), noise)
        factor = self.slow(now)
        weight = _SLOW_UP if ratio > factor else _SLOW_DOWN
        self._factor = min(max(factor + weight * (ratio - factor), SLOW_MIN), _SLOW_MAX)
        self._at = now
        self.samples += 1
        self._moved()

    def assume(self, factor: float, now: float) -> None:
        """Start again from a factor, with nothing observed."""
        self._factor, self._at, self.samples = factor, now, 0
        self._moved()


def fit(small: tuple[int, float], large: tuple[int, float]) -> tuple[float, float]:
    """Lay the line through two measured (tokens, seconds): returns (a, b)."""
    tokens = large[0] - small[0]
    slope = (large[1] - small[1]) / tokens if tokens > 0 else 0.0
    token_seconds = max(slope, _TOKEN_SECONDS_MIN)
    return max(small[1] - token_seconds * small[0], 0.0), token_seconds
