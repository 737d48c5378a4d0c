"""Who belongs to a pool: workers come, prove themselves, drain and go.

Discovery proposes, examinations decide. One revision of the model serves the pool at a time: the
first that was ready. It is given up when no worker of it is left, or when none was ready for a
while and one of another revision waits: the dead must not keep the living out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.protocol import BeyondWorker, RequestRefused
from gateway.data_plane.routing.evidence import Evidence, NotReady, weigh
from gateway.data_plane.routing.worker import NEW, State, Worker

if TYPE_CHECKING:
    from backends.protocol import WorkerInfo
    from gateway.data_plane.routing.dispatcher import Dispatcher

Line = tuple[float, float]
"""a and b of: seconds = a + b * tokens."""


class Roster:
    """The members of one pool. Each change ends with a pump."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.revision: str | None = None
        """Revision that serves the pool; None while none does."""
        self._contested_at: float | None = None
        """Since when another revision waits for the pool, and none of this one is ready."""

    def add(self, url: str, now: float) -> Worker:
        """Take note of a worker; it must prove itself before it is given anything."""
        assert url not in self._dispatcher.workers, f"{url} is already here"
        worker = Worker(url, self._dispatcher.settings, now, self._dispatcher.shell.changed)
        self._dispatcher.workers[url] = worker
        return worker

    def remove(self, worker: Worker, now: float) -> None:
        """Forget a worker: what it has in hand it may finish, nothing new is sent."""
        del self._dispatcher.workers[worker.url]
        worker.enter(State.GONE, "left the pool", now)
        self._release_revision()
        self._dispatcher.pump()

    def drain(self, worker: Worker, reason: str, now: float) -> None:
        """Send nothing new to a worker until `undrain`."""
        worker.enter(State.DRAINING, reason, now)

    def undrain(self, worker: Worker, now: float) -> None:
        """Let a drained worker prove itself again."""
        if worker.state is State.DRAINING:
            worker.enter(State.DISCOVERED, "undrained", now)
            worker.examine_at = now
            self._dispatcher.distrust(worker)
            self._dispatcher.pump()

    def calibrating(self, worker: Worker, now: float) -> None:
        """Note that a new worker shows what it can."""
        if worker.state in NEW and worker.state is not State.CALIBRATING:
            worker.enter(State.CALIBRATING, "measured", now)

    def examined(
        self, worker: Worker, info: WorkerInfo, line: Line | None, proof: str | None, now: float
    ) -> None:
        """Note that a worker passed an examination, with its calibrated line when it is new.

        `proof` says what it computed; None: it was only asked what it is, which proves nothing.
        """
        worker.examinations += 1
        if worker.state in (State.DRAINING, State.GONE) or self._refused(worker, info, now):
            return
        worker.info = info
        worker.answered_at = now
        if line is not None:
            worker.speed.calibrate(*line)
            worker.calibrated = True
        quarantine = self._dispatcher.quarantine
        if proof is not None:
            if worker.state in NEW and worker.calibrated:
                quarantine.readmit(worker, proof, now)
            elif worker.state is State.QUARANTINED:
                quarantine.passed(worker, proof, now)
            elif worker.state is State.READY:
                worker.refusals = 0
                worker.reason = worker.history[-1].reason  # whatever it was kept in spite of
        if worker.state is State.READY and self.revision is None:
            self.revision = info.revision
            self._dispatcher.restart_others(info.revision)
        if worker.state is State.READY:
            self._contested_at = None
        self._dispatcher.pump()

    def failed(self, worker: Worker, error: Exception, now: float) -> None:
        """Note that a worker failed an examination."""
        dispatcher = self._dispatcher
        worker.examinations += 1
        settings, quarantine = dispatcher.settings, dispatcher.quarantine
        dispatcher.counts["examinations_failed"] += 1
        if worker.state in NEW:
            if worker.state is not State.WARMING or worker.reason != str(error):
                worker.enter(State.WARMING, str(error), now)
            worker.examine_at = now + quarantine.jitter(settings.warming_seconds)
        elif worker.state is State.QUARANTINED:
            quarantine.relapse(worker, str(error), now)
        elif worker.state is State.READY:
            within = settings.witness_seconds + 2 * settings.check_seconds
            evidence = weigh(error, excused=dispatcher.excused(worker, within))
            if isinstance(error, NotReady | RequestRefused):
                # it says itself that it wants no work, or refuses what it must be able to do
                evidence = Evidence.SOFT
            if isinstance(error, RequestRefused) and not isinstance(error, BeyondWorker):
                worker.refusals += 1
                if worker.refusals >= settings.refusals_max:
                    evidence = Evidence.HARD
            dispatcher.judge(worker, error, evidence, now, canary=True)
        dispatcher.pump()

    def seconds_to_examination(self, worker: Worker, now: float) -> float:
        """How long to leave a worker alone, seconds."""
        if worker.state in NEW or worker.state is State.QUARANTINED:
            return max(0.0, worker.examine_at - now)
        dispatcher = self._dispatcher
        return dispatcher.quarantine.jitter(dispatcher.settings.check_seconds)

    def _refused(self, worker: Worker, info: WorkerInfo, now: float) -> bool:
        """Keep a worker out that serves another revision than the pool."""
        if self.revision not in (None, info.revision):
            self._contest(now)
        if self.revision in (None, info.revision):
            return False
        reason = f"serves revision {info.revision}; this pool serves {self.revision}"
        worker.info, worker.calibrated = None, False
        worker.examine_at = now + self._dispatcher.settings.warming_seconds
        if worker.state is not State.WARMING or worker.reason != reason:
            worker.enter(State.WARMING, reason, now)
        self._dispatcher.distrust(worker)
        self._release_revision()
        self._dispatcher.pump()
        return True

    def _contest(self, now: float) -> None:
        """Let the revision go when none of its workers has been ready for the time of grace."""
        members = self._dispatcher.workers.values()
        if any(w.state is State.READY and w.revision == self.revision for w in members):
            self._contested_at = None
        elif self._contested_at is None:
            self._contested_at = now
        elif now - self._contested_at >= self._dispatcher.settings.revision_grace_seconds:
            self.revision = self._contested_at = None

    def _release_revision(self) -> None:
        members = self._dispatcher.workers.values()
        if not any(worker.info and worker.info.revision == self.revision for worker in members):
            self.revision = None
