"""What is done about a worker when an error speaks against it.

How heavy an error weighs, `evidence` says; how many of them take a worker out, the worker and the
quarantine know. A timeout is excused while our own loop is late, or no other worker answers: then
it may be us, or a pool that is full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.protocol import BeyondWorker, WorkerBusy
from gateway.data_plane.routing.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gateway.data_plane.routing.quarantine import Quarantine
    from gateway.data_plane.routing.request import Shard
    from gateway.data_plane.routing.settings import RoutingSettings
    from gateway.data_plane.routing.shell import Shell
    from gateway.data_plane.routing.worker import Worker


class Judge:
    """Over the workers of one pool. What those it takes out have in hand, others take back."""

    def __init__(
        self,
        workers: Collection[Worker],
        quarantine: Quarantine,
        settings: RoutingSettings,
        *,
        shell: Shell,
        lag: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._quarantine = quarantine
        self._settings = settings
        self._shell = shell
        self._lag = lag

    def hear(
        self, worker: Worker, error: Exception, evidence: Evidence, now: float, *, canary: bool
    ) -> None:
        """Hold an error against a worker. A canary that failed is as good as a row of faults."""
        match evidence:
            case Evidence.HARD:
                self._quarantine.take_out(worker, str(error), now, hard=True)
            case Evidence.SOFT:
                if worker.faulted() or canary:
                    self._quarantine.take_out(worker, str(error), now, hard=False)
                elif not canary:
                    self._shell.examine(worker)
            case Evidence.SUSPICION if not canary:
                self._shell.examine(worker)
            case Evidence.BUSY:
                assert isinstance(error, WorkerBusy)
                worker.busy(error.retry_after_seconds, now)
            case _:
                pass

    def overrule(self, shard: Shard, now: float) -> list[Worker]:
        """Accuse the workers that refused what another one then computed; returns them."""
        wrong = {w: e for w, e in shard.refusals.items() if not isinstance(e, BeyondWorker)}
        shard.refusals.clear()
        for worker, error in wrong.items():
            self.hear(worker, error, Evidence.SOFT, now, canary=False)
        return list(wrong)

    def excused(self, worker: Worker, now: float, within_seconds: float) -> bool:
        """Whether a timeout of this worker may be our own doing, or a pool that is full."""
        if self._lag() > self._settings.lag_excuse_seconds:
            return True
        return not any(
            now - other.answered_at <= within_seconds
            for other in self._workers
            if other is not worker
        )
