"""Applies errors to workers: which are quarantined, for how long, and what readmits them.

Only this module decides who is to blame. Other routers open a healthy worker's breaker on client
errors, or treat 429 as death; here only a `WorkerFault` counts against a worker, and a timeout only
if it can't have been our own fault.

Soft evidence never takes out more than half of the workers: if all look sick, the cause is the load
or ourselves. Hard evidence takes out even the last one: nothing listens, the vectors are wrong, or
it failed several examinations with no good answer in between. What clients send is never hard
evidence.
The time in quarantine doubles with each relapse; healthy minutes reduce it again.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Collection
from statistics import median

from backends.protocol import (
    BeyondWorker,
    InvalidAnswer,
    RequestRefused,
    WorkerBusy,
    WorkerFault,
    WorkerReplaced,
    WorkerTimeout,
    WorkerUnreachable,
)
from gateway.data_plane.routing.ranking import Ranking
from gateway.data_plane.routing.request import Shard
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.witnesses import Disproved
from gateway.data_plane.routing.worker import EJECT_FACTOR, WINDOW_SHARE_START, Worker
from gateway.snapshots import WorkerState

LAG_EXCUSE_SECONDS = 0.1
"""A timeout while our own loop was later than this counts against nobody."""
WITNESS_SECONDS = 1.0
"""A timeout counts only if another worker answered this recently: else it may be us."""
PASSES_MIN = 2
"""Examinations in a row that end a quarantine while another worker serves."""
JITTER = 0.2
"""Share by which times vary, so that gateways don't act at the same moment."""
SLOW_START = 3.0
"""Slowdown factor assumed after a quarantine."""
FORGET_SECONDS = 60.0
"""Healthy time that takes back one doubling of the quarantine."""

_QUARANTINE_SECONDS_MAX = 1.6
"""The longest quarantine: with jitter and two passes a worker is back 3 s after it is well."""
_LIMP_FACTOR = 5.0
"""Slower than the others' median by this factor: one shard at a time."""
_LIMP_SECONDS = 2.0
"""For how long it must have been that slow."""
_LIMP_SAMPLES_MIN = 5
"""Answers it takes to call a worker slow."""


class Quarantine:
    """Judges the workers of one pool. Calls of those that it takes out are the caller's to end."""

    def __init__(
        self,
        workers: Collection[Worker],
        ranking: Ranking,
        settings: RoutingSettings,
        *,
        examine: Callable[[Worker], None],
        random: random.Random,
        lag: Callable[[], float],
    ) -> None:
        """`examine` has a worker examined soon; `lag` is our own loop's lateness, seconds."""
        self._workers = workers
        self._ranking = ranking
        self._settings = settings
        self._examine = examine
        self._random = random
        self._lag = lag

    def judge(
        self, worker: Worker, error: Exception, evidence: Evidence, now: float, *, canary: bool
    ) -> None:
        """Apply an error to a worker: quarantine, examine or back off.

        One failed canary counts as much as a series of faults.
        """
        match evidence:
            case Evidence.HARD:
                self.take_out(worker, str(error), now, hard=True)
            case Evidence.SOFT:
                if worker.faulted() or canary:
                    self.take_out(worker, str(error), now, hard=False)
                else:
                    self._examine(worker)
            case Evidence.SUSPICION if not canary:
                self._examine(worker)
            case Evidence.BUSY:
                assert isinstance(error, WorkerBusy)
                worker.busy(error.retry_after_seconds, now)
            case Evidence.DOUBT:
                self.doubt(worker)
            case _:
                pass

    def doubt(self, worker: Worker) -> None:
        """Give a worker no work until it is examined: it may now be another process."""
        worker.answerers.doubt()
        self._examine(worker)

    def overrule(self, shard: Shard, now: float) -> list[Worker]:
        """Blame the workers that refused what another one then computed; returns them."""
        wrong = {w: e for w, e in shard.refusals.items() if not isinstance(e, BeyondWorker)}
        shard.refusals.clear()
        for worker, error in wrong.items():
            self.judge(worker, error, Evidence.SOFT, now, canary=False)
        return list(wrong)

    def excused(self, worker: Worker, now: float, within_seconds: float) -> bool:
        """Whether this worker's timeout may be due to us, or to a full pool."""
        return self.loop_late or not any(
            now - other.answered_at <= within_seconds
            for other in self._workers
            if other is not worker
        )

    @property
    def loop_late(self) -> bool:
        """Whether our own event loop is so late that every worker looks slow."""
        return self._lag() > LAG_EXCUSE_SECONDS

    def take_out(self, worker: Worker, reason: str, now: float, *, hard: bool) -> None:
        """Quarantine a ready worker, unless too few would be left and nothing is proven."""
        if not worker.ready:
            return
        if not hard and not self._spares(worker):
            worker.reason = f"kept, for too few are left: {reason}"
            return
        healthy = now - worker.healthy_since
        worker.ejections -= min(worker.ejections, int(healthy / FORGET_SECONDS))
        worker.enter(WorkerState.QUARANTINED, reason, now)
        self._set_back(worker, now)

    def relapse(self, worker: Worker, reason: str, now: float) -> None:
        """Record that a quarantined worker failed its examination."""
        if worker.reason != reason:
            worker.enter(WorkerState.QUARANTINED, reason, now)
        self._set_back(worker, now)

    def passed(self, worker: Worker, proof: str, now: float) -> None:
        """Record that a quarantined worker passed an examination; enough of them readmit it.

        One is enough while no other is ready: there is nobody better to serve.
        """
        worker.passes += 1
        if worker.passes < PASSES_MIN and any(other.ready for other in self._workers):
            worker.examine_at = now + self._settings.pass_seconds
        else:
            self.readmit(worker, proof, now, slowdown=SLOW_START)

    def readmit(self, worker: Worker, reason: str, now: float, *, slowdown: float = 1.0) -> None:
        """Give it work again, little at first."""
        worker.forgive()
        worker.speed.assume(slowdown, now)
        worker.window_share = WINDOW_SHARE_START
        worker.healthy_since = now
        worker.enter(WorkerState.READY, reason, now)

    def check_pace(self, worker: Worker, now: float) -> None:
        """Compare a worker's speed with the others': it may be slowed down or taken out."""
        calm = worker.slow_since is None and not worker.limping
        if calm and worker.speed.slow(now) <= _LIMP_FACTOR * self._ranking.usual_slowdown_min(now):
            return
        others = [w for w in self._workers if w.ready and w is not worker]
        if not others or worker.speed.samples < _LIMP_SAMPLES_MIN:
            return
        ratio = worker.speed.slow(now) / median(other.speed.slow(now) for other in others)
        if ratio <= _LIMP_FACTOR:
            worker.slow_since, worker.limping = None, False
            return
        if worker.slow_since is None:
            worker.slow_since = now
        if ratio > EJECT_FACTOR:
            self.take_out(worker, f"{ratio:.0f} times slower than the others", now, hard=False)
        elif now - worker.slow_since >= _LIMP_SECONDS:
            worker.limping = True

    def jitter(self, seconds: float) -> float:
        """Vary a time, so that gateways don't act at the same moment."""
        return seconds * self._random.uniform(1.0 - JITTER, 1.0 + JITTER)

    def _set_back(self, worker: Worker, now: float) -> None:
        # bounded, so that 2 ** ejections stays a number however long a worker is away
        doubled = self._settings.quarantine_seconds_min * 2 ** min(worker.ejections, 16)
        worker.examine_at = now + self.jitter(min(doubled, _QUARANTINE_SECONDS_MAX))
        worker.ejections += 1
        worker.passes = 0

    def _spares(self, worker: Worker) -> bool:
        counted = (WorkerState.READY, WorkerState.QUARANTINED)
        members = [w for w in self._workers if w.state in counted]
        ready = sum(w.ready and w is not worker for w in members)
        return ready >= max(1, -(-len(members) // 2))


class NotReady(WorkerBusy):
    """A worker says that it is warming up or draining: it wants no work."""


class Evidence(enum.Enum):
    """How heavily an error weighs."""

    HARD = "hard"
    """Proof: out at once, even the last worker. No answer is better than garbage."""
    SOFT = "soft"
    """Counts; several are a proof."""
    SUSPICION = "suspicion"
    """Proves nothing, but a canary should look."""
    BUSY = "busy"
    """Alive and full."""
    DOUBT = "doubt"
    """Another process answered, which has not been examined."""
    NONE = "none"
    """Something on our side broke, or the worker is healthy but can't take this."""


def weigh(error: Exception, *, excused: bool) -> Evidence:
    """Weigh an error; `excused` when a timeout may be our own doing."""
    match error:
        case InvalidAnswer() | WorkerUnreachable() | Disproved():
            return Evidence.HARD
        case WorkerTimeout() if excused:
            return Evidence.SUSPICION
        case WorkerFault():
            return Evidence.SOFT
        case WorkerBusy():
            return Evidence.DOUBT if isinstance(error, WorkerReplaced) else Evidence.BUSY
        case RequestRefused() if not isinstance(error, BeyondWorker):
            return Evidence.SUSPICION  # our mistake, as long as no other worker takes the same
        case _:
            return Evidence.NONE
