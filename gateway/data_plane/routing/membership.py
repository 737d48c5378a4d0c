"""The members of a pool: workers come, prove themselves, drain and go.

Discovery proposes, examinations decide. One revision of the model serves the pool at a time: the
first that was ready. It is given up when none of its workers is left, or when none was ready for a
while and a worker of another revision is waiting: dead workers must not keep live ones out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from backends.protocol import BeyondWorker, RequestRefused, WorkerInfo, WorkerTimeout
from gateway.data_plane.routing.quarantine import (
    WITNESS_SECONDS,
    Evidence,
    NotReady,
    Quarantine,
    weigh,
)
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import NEW, SPLIT_TOKENS_MIN, Worker
from gateway.snapshots import WorkerState

REVISION_GRACE_SECONDS = 5.0
"""How long a revision without a ready worker keeps its pool while another one waits."""
_FAILURES_MAX = 3
"""Examinations failed in a row, with no good answer in between, that take out the last worker too:
what a worker once computed is no mistake of ours."""

_ROWS_MAX_UNKNOWN = 32
"""Rows of a shard while no worker has said how many it accepts: the minimum of the known
engines."""

Line = tuple[float, float]
"""a and b of: seconds = a + b * tokens."""


class PoolMembership:
    """The workers of one pool, by URL. Each change ends with a pump."""

    def __init__(
        self,
        workers: dict[str, Worker],
        quarantine: Quarantine,
        settings: RoutingSettings,
        counts: Counter[str],
        *,
        changed: Callable[[Worker], None],
        moved: Callable[[Worker], None],
        judge: Judge,
        distrust: Callable[[Worker], None],
        revised: Callable[[str], None],
        pump: Callable[[], None],
    ) -> None:
        """`changed` gets a worker's states, `moved` all that affects when it would finish.

        `distrust` takes back a worker's calls; `revised` is told which revision serves.
        """
        self._workers = workers
        self._quarantine = quarantine
        self._settings = settings
        self._counts = counts
        self._changed = changed
        self._moved = moved
        self._judge = judge
        self._distrust = distrust
        self._revised = revised
        self._pump = pump
        self.revision: str | None = None
        """Revision that serves the pool; None while none does."""
        self._contested_at: float | None = None
        """Since when another revision has been waiting while no worker of this one is ready."""
        self.split_tokens = SPLIT_TOKENS_MIN
        """Tokens of the largest shard that any worker is given."""
        self.rows_max = _ROWS_MAX_UNKNOWN
        """Rows that every worker takes in one call."""

    def add(self, url: str, now: float) -> Worker:
        """Add a worker; it must prove itself before it is given anything."""
        assert url not in self._workers, f"{url} is already here"
        worker = self._workers[url] = Worker(
            url, self._settings, now, notify=self._changed, moved=self._moved
        )
        return worker

    def remove(self, worker: Worker, now: float) -> None:
        """Drop a worker: it may finish its calls but gets no new ones."""
        del self._workers[worker.url]
        worker.enter(WorkerState.GONE, "left the pool", now)
        self._survey()
        self._release_revision()
        self._pump()

    def drain(self, worker: Worker, reason: str, now: float) -> None:
        """Send nothing new to a worker until `undrain`."""
        worker.enter(WorkerState.DRAINING, reason, now)

    def undrain(self, worker: Worker, now: float) -> None:
        """Let a drained worker prove itself again."""
        if worker.state is WorkerState.DRAINING:
            worker.enter(WorkerState.DISCOVERED, "undrained", now)
            worker.examine_at = now
            self._distrust(worker)
            self._pump()

    def asking(self, worker: Worker, now: float) -> None:
        """Record that an examination begins."""
        worker.asked_at = now

    def calibrating(self, worker: Worker, now: float) -> None:
        """Record that a new worker's speed is being measured."""
        if worker.state in NEW and worker.state is not WorkerState.CALIBRATING:
            worker.enter(WorkerState.CALIBRATING, "measured", now)

    def examined(
        self, worker: Worker, info: WorkerInfo, line: Line | None, proof: str | None, now: float
    ) -> None:
        """Record that a worker passed an examination, with its calibrated line when it is new.

        `proof` says what it computed; None: it was only asked what it is, which proves nothing.
        """
        worker.examinations += 1
        left = worker.state in (WorkerState.DRAINING, WorkerState.GONE)
        if left or self._refused(worker, info, now):
            return
        worker.info = info
        worker.answered_at = now
        if line is not None:
            worker.speed.calibrate(*line)
            worker.calibrated = True
        self._survey()
        if proof is not None:
            worker.proved_at = now
            if worker.state in NEW and worker.calibrated:
                self._quarantine.readmit(worker, proof, now)
            elif worker.state is WorkerState.QUARANTINED:
                self._quarantine.passed(worker, proof, now)
            elif worker.ready:
                worker.failures = 0
                worker.reason = worker.history[-1].reason  # no longer "kept, for too few are left"
        if worker.ready:
            self._contested_at = None
            if self.revision is None:
                self.revision = info.revision
                self._revised(info.revision)
        self._pump()

    def failed(self, worker: Worker, error: Exception, now: float) -> None:
        """Record that a worker failed an examination."""
        worker.examinations += 1
        self._counts["examinations_failed"] += 1
        if worker.state in NEW:
            if worker.state is not WorkerState.WARMING or worker.reason != str(error):
                worker.enter(WorkerState.WARMING, str(error), now)
            worker.examine_at = now + self._quarantine.jitter(self._settings.warming_seconds)
        elif worker.state is WorkerState.QUARANTINED:
            self._quarantine.relapse(worker, str(error), now)
        elif worker.ready:
            worker.reason = f"failed an examination: {error}"
            self._judge(worker, error, self._weigh(worker, error, now), now, canary=True)
        self._pump()

    def seconds_to_examination(self, worker: Worker, now: float) -> float:
        """How many seconds to leave a worker alone."""
        if worker.state in NEW or worker.state is WorkerState.QUARANTINED:
            return max(0.0, worker.examine_at - now)
        suspicious = worker.ready and (worker.failures or worker.answerers.doubted)
        settings = self._settings
        seconds = settings.warming_seconds if suspicious else settings.check_seconds
        return self._quarantine.jitter(seconds)

    def _weigh(self, worker: Worker, error: Exception, now: float) -> Evidence:
        """Judge a ready worker's failed examination."""
        within = WITNESS_SECONDS + 2 * self._settings.check_seconds
        evidence = weigh(error, excused=self._quarantine.excused(worker, now, within))
        if isinstance(error, NotReady | RequestRefused):
            # it says itself that it wants no work, or refuses what it must be able to do
            evidence = Evidence.SOFT
        ours = isinstance(error, WorkerTimeout) and self._quarantine.loop_late
        counts = evidence in (Evidence.SOFT, Evidence.SUSPICION)
        if counts and not ours and not isinstance(error, BeyondWorker):
            worker.failures += 1
            if worker.failures >= _FAILURES_MAX:
                evidence = Evidence.HARD
        return evidence

    def _refused(self, worker: Worker, info: WorkerInfo, now: float) -> bool:
        """Keep out a worker that serves a different revision than the pool."""
        if self.revision not in (None, info.revision):
            self._contest(now)
        if self.revision in (None, info.revision):
            return False
        reason = f"serves revision {info.revision}; this pool serves {self.revision}"
        worker.info, worker.calibrated = None, False
        self._survey()
        worker.examine_at = now + self._settings.warming_seconds
        if worker.state is not WorkerState.WARMING or worker.reason != reason:
            worker.enter(WorkerState.WARMING, reason, now)
        self._distrust(worker)
        self._release_revision()
        self._pump()
        return True

    def _contest(self, now: float) -> None:
        """Give up the revision when none of its workers has been ready for the grace period."""
        if any(w.ready and w.revision == self.revision for w in self._workers.values()):
            self._contested_at = None
        elif self._contested_at is None:
            self._contested_at = now
        elif now - self._contested_at >= REVISION_GRACE_SECONDS:
            self.revision = self._contested_at = None

    def _survey(self) -> None:
        """Update what the workers accept; only their examinations change it."""
        known = [(w.split_tokens, w.info.rows_max) for w in self._workers.values() if w.info]
        self.split_tokens = max((tokens for tokens, _ in known), default=SPLIT_TOKENS_MIN)
        self.rows_max = min((rows for _, rows in known), default=_ROWS_MAX_UNKNOWN)

    def _release_revision(self) -> None:
        if not any(w.info and w.info.revision == self.revision for w in self._workers.values()):
            self.revision = None


class Judge(Protocol):
    """A callable."""

    def __call__(
        self, worker: Worker, error: Exception, evidence: Evidence, now: float, *, canary: bool
    ) -> None:
        """Apply an error to a worker; if that takes it out, its calls go elsewhere."""
        ...
