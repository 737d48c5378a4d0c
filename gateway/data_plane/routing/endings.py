"""How a request without vectors ends: the error for each case, and when to stop trying.

One worker's refusal does not prove that we made a mistake while another worker may come back.
"""

from __future__ import annotations

from collections.abc import Collection

from backends.protocol import (
    BeyondWorker,
    InvalidAnswer,
    RequestRefused,
    WorkerBusy,
    WorkerFailed,
)
from gateway.data_plane.routing.admission import Admission
from gateway.data_plane.routing.outcomes import (
    AllAttemptsFailed,
    DeadlineMissed,
    RowsRefused,
    RowsUnsuited,
)
from gateway.data_plane.routing.placement import Placement
from gateway.data_plane.routing.request import Request, Shard
from gateway.data_plane.routing.suspects import Suspects
from gateway.data_plane.routing.worker import NEW, Worker
from gateway.snapshots import WorkerState

_AWAY = NEW | {WorkerState.QUARANTINED}


class Endings:
    """Chooses the error of a request. Its `__cause__` is what a worker said."""

    def __init__(
        self,
        placement: Placement,
        admission: Admission,
        workers: Collection[Worker],
        suspects: Suspects,
    ) -> None:
        self._placement = placement
        self._admission = admission
        self._workers = workers
        self._suspects = suspects

    def given_up(self, shard: Shard, error: Exception, *, paid: bool) -> Exception | None:
        """Return the error for a shard that is not tried again, or None.

        A worker that is full or refuses does not use up a try. A row that got an invalid answer in
        each try is refused like one that crashes workers: it would take them out, one after the
        other.
        """
        if isinstance(error, RequestRefused | WorkerBusy):
            return None
        spent = shard.tries > len(self._workers) + 1
        none_valid = spent and shard.size == 1 and shard.invalid > shard.tries
        if shard.fatal or none_valid:
            return _because(self._suspects.condemn(shard), error)
        if paid and shard.tries <= len(self._workers) + 1:
            return None
        reason = f"{shard.tries} tries failed" if paid else "the retry budget is spent"
        return _because(AllAttemptsFailed(f"{reason}; the last one: {error}"), error)

    def refused(self, shard: Shard, now: float) -> Exception | None:
        """Return the error of a shard that each ready worker has refused, or None."""
        ready = self._placement.ready(shard)
        if not ready or any(worker not in shard.refusals for worker in ready):
            return None
        mistakes = {w: e for w, e in shard.refusals.items() if not isinstance(e, BeyondWorker)}
        *_, last = (mistakes or shard.refusals).values()
        others = any(w.state in _AWAY and w not in shard.refusals for w in self._workers)
        if others and (len(shard.refusals) == 1 or not mistakes):
            return _because(self._admission.no_worker(now), last)
        if not mistakes:
            return _because(RowsUnsuited(str(last)), last)
        if all(worker.failures for worker in mistakes):  # their canaries too: not our mistake
            return _because(AllAttemptsFailed(f"each worker refuses everything: {last}"), last)
        return _because(RowsRefused(str(last)), last)

    def too_late(self, request: Request, now: float) -> Exception:
        """Return the error of a request whose time is over, or too short for any worker."""
        if isinstance(request.error, WorkerBusy):
            return _because(self._admission.busy(now), request.error)
        if not request.begun and not any(w.ready for w in self._workers):
            return self._admission.no_worker(now)
        missed = DeadlineMissed("the caller's time ran out, or would have")
        return _because(missed, request.error)


def note(shard: Shard, worker: Worker, error: Exception, *, company: bool, cut: bool) -> None:
    """Record the outcome of a try on its shard.

    A try `cut` by the deadline says less than an earlier worker that said it is full.
    """
    if not (cut and isinstance(shard.request.error, WorkerBusy)):
        shard.request.error = error
    refused = isinstance(error, RequestRefused)
    if refused or isinstance(error, WorkerFailed | InvalidAnswer):
        shard.alone = shard.alone or company
        shard.failed = not refused
    shard.invalid += isinstance(error, InvalidAnswer)
    if isinstance(error, RequestRefused) and not company:
        shard.refusals[worker] = error
        shard.tried.add(worker)
    elif not isinstance(error, RequestRefused | WorkerBusy):
        shard.tried.add(worker)
        shard.tries += worker.ready


def _because(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error
