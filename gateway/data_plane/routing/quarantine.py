"""Who is taken out, for how long, and what brings it back.

At least half of the workers stay in whatever the soft evidence says: when all look sick, it is
the load or ourselves. Hard evidence (nothing listens, or the vectors are wrong) knows no such
mercy. The time out doubles with each relapse and is forgotten by healthy minutes.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from gateway.data_plane.routing.worker import State

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

    from gateway.data_plane.routing.settings import RoutingSettings
    from gateway.data_plane.routing.worker import Worker


class Quarantine:
    """The rules, over the workers of one pool."""

    def __init__(
        self, workers: Collection[Worker], settings: RoutingSettings, random: random.Random
    ) -> None:
        self._workers = workers
        self._settings = settings
        self._random = random

    def take_out(self, worker: Worker, reason: str, now: float, *, hard: bool) -> bool:
        """Quarantine a ready worker; false when too few would be left and it is not proven."""
        if worker.state is not State.READY:
            return False
        if not hard and not self._spares(worker):
            worker.reason = f"kept, for too few are left: {reason}"
            return False
        healthy = now - worker.healthy_since
        worker.ejections -= min(
            worker.ejections, int(healthy / self._settings.quarantine_forget_seconds)
        )
        worker.enter(State.QUARANTINED, reason, now)
        self._set_back(worker, now)
        return True

    def relapse(self, worker: Worker, reason: str, now: float) -> None:
        """Note that a quarantined worker failed its examination."""
        if worker.reason != reason:
            worker.enter(State.QUARANTINED, reason, now)
        self._set_back(worker, now)

    def passed(self, worker: Worker, proof: str, now: float) -> bool:
        """Note that it passed one; true when it is ready again."""
        worker.passes += 1
        if worker.passes < self._settings.passes_min:
            worker.examine_at = now + self._settings.pass_seconds
            return False
        self.readmit(worker, proof, now, slowdown=self._settings.slow_start)
        return True

    def readmit(self, worker: Worker, reason: str, now: float, *, slowdown: float = 1.0) -> None:
        """Let it have work, little at first."""
        worker.forgive()
        worker.speed.assume(slowdown, now)
        worker.window_share = self._settings.window_share_start
        worker.healthy_since = now
        worker.enter(State.READY, reason, now)

    def check_pace(self, worker: Worker, now: float) -> None:
        """Compare a worker with the others after an observation: let it limp, or take it out."""
        others = [w for w in self._workers if w.state is State.READY and w is not worker]
        if not others or worker.speed.samples < self._settings.limp_samples_min:
            return
        ratio = worker.speed.slow(now) / median(other.speed.slow(now) for other in others)
        if ratio <= self._settings.limp_factor:
            worker.slow_since, worker.limping = None, False
            return
        if worker.slow_since is None:
            worker.slow_since = now
        if ratio > self._settings.eject_factor:
            self.take_out(worker, f"{ratio:.0f} times slower than the others", now, hard=False)
        elif now - worker.slow_since >= self._settings.limp_seconds:
            worker.limping = True

    def jitter(self, seconds: float) -> float:
        """Vary a time, so that gateways don't strike together."""
        share = self._settings.check_jitter
        return seconds * self._random.uniform(1.0 - share, 1.0 + share)

    def _set_back(self, worker: Worker, now: float) -> None:
        settings = self._settings
        # bounded, so that 2 ** ejections stays a number however long a worker is away
        doubled = settings.quarantine_seconds_min * 2 ** min(worker.ejections, 16)
        worker.examine_at = now + self.jitter(min(doubled, settings.quarantine_seconds_max))
        worker.ejections += 1
        worker.passes = 0

    def _spares(self, worker: Worker) -> bool:
        members = [w for w in self._workers if w.state in (State.READY, State.QUARANTINED)]
        ready = sum(w.state is State.READY and w is not worker for w in members)
        return ready >= max(1, -(-len(members) // 2))
