"""The synchronous core of one pool: which worker gets which work, and what its answers mean.

It never awaits. Events reach it as method calls; it acts through its `Shell`, whose methods must
not call back. So no two events can interleave, and:

- each request is resolved exactly once, even if answers arrive late or twice;
- tokens in flight are counted in and out by the attempt: zero when no call is in flight;
- a worker that is no longer trusted has no calls: no late answer from it is delivered;
- vectors of two revisions are never in one answer and never serve one pool.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from backends.protocol import (
    InvalidAnswer,
    TokenRow,
    WorkerFailed,
    WorkerReplaced,
)
from gateway.data_plane.routing.admission import Admission, Offer
from gateway.data_plane.routing.answerers import UNTOLD
from gateway.data_plane.routing.calls import Calls, RetryBudget, Shell
from gateway.data_plane.routing.endings import Endings
from gateway.data_plane.routing.fair_queue import FairQueue
from gateway.data_plane.routing.gathering import Gathering
from gateway.data_plane.routing.membership import PoolMembership
from gateway.data_plane.routing.outcomes import Closing, NoWorker, Shed
from gateway.data_plane.routing.placement import Placement
from gateway.data_plane.routing.quarantine import WITNESS_SECONDS, Evidence, Quarantine, weigh
from gateway.data_plane.routing.ranking import Ranking
from gateway.data_plane.routing.request import Attempt, Request, Shard, split
from gateway.data_plane.routing.retries import Retries
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.suspects import Suspects
from gateway.data_plane.routing.witnesses import Disproved, Witnesses
from gateway.data_plane.routing.worker import Worker

Flaw = Callable[[Sequence[TokenRow], Sequence[memoryview]], str | None]

_HOLD_SECONDS_MAX = 30.0
"""How long a request may be held while no worker is ready."""
_CALLS_A_TURN = 16
"""Calls that are made in one turn of the loop."""
_SWEEP_SECONDS = 0.025
"""How often the deadlines of waiting requests and the age of calls are checked."""


class Dispatcher:
    """The workers, the queue and the calls in flight of one pool."""

    def __init__(
        self,
        settings: RoutingSettings,
        *,
        clock: Callable[[], float],
        shell: Shell,
        flaw: Flaw,
        random: random.Random,
        lag: Callable[[], float] = lambda: 0.0,
        gateways: Callable[[], int] = lambda: 1,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Events since the start: attempts, retries, hedges, invalid answers, shed by reason."""
        self._clock = clock
        self._wake, self._soon = shell.wake, shell.soon
        self._flaw = flaw
        self.workers: dict[str, Worker] = {}
        self.queue = FairQueue()
        members = self.workers.values()
        self._ranking = Ranking(members)
        self.quarantine = Quarantine(
            members, self._ranking, settings, examine=shell.examine, random=random, lag=lag
        )
        self._admission = Admission(self.queue, members, self._ranking, settings)
        self._placement = Placement(
            self.queue, members, self._ranking, settings, lag=lag, gateways=gateways
        )
        self.witnesses = Witnesses(random, self._disprove, shell.examine, self.counts)
        self._calls = Calls(
            shell, self._placement, members, settings, self.witnesses, self.counts, lag
        )
        self.suspects = Suspects(settings, clock)
        self._endings = Endings(self._placement, self._admission, members, self.suspects)
        self._budget = RetryBudget(settings, clock())
        self._active: dict[Request, None] = {}
        self._owners: dict[str, int] = {}
        """How many of them each organization has."""
        self._swept_at = clock()
        self._gathering = Gathering(self.queue, self._calls)
        self._retries = Retries(
            self.queue,
            self._calls,
            self._endings,
            self.suspects,
            self._budget,
            counts=self.counts,
            finish=self._finish,
        )
        self.membership = PoolMembership(
            self.workers,
            self.quarantine,
            settings,
            self.counts,
            changed=shell.changed,
            moved=self._ranking.moved,
            judge=self._judge,
            distrust=self._retries.take_back,
            revised=self._restart_others,
            pump=self.pump,
        )

    # -- requests -------------------------------------------------------------------------------

    def admit(self, offer: Offer) -> None:
        """Raise Shed or NoWorker if a request should be refused; reserves nothing."""
        try:
            self._admission.check(
                offer,
                self._clock(),
                requests=len(self._active),
                own=self._owners.get(offer.organization, 0),
            )
        except (Shed, NoWorker) as refused:
            why = "no_worker" if isinstance(refused, NoWorker) else refused.code
            self.counts[f"shed_{why}"] += 1
            raise

    def submit(self, request: Request) -> None:
        """Accept a request. It is resolved exactly once, possibly before this returns.

        It is sent at the end of this turn of the loop at the earliest, together with others from
        the same turn.
        """
        now = self._clock()
        split(request, tokens_max=self.membership.split_tokens, rows_max=self.membership.rows_max)
        request.hold_until = now + min(request.hold_seconds, _HOLD_SECONDS_MAX)
        self._active[request] = None
        own = self._owners.get(request.organization, 0)
        self._owners[request.organization] = own + 1
        try:  # again: of those admitted at the same moment, not all may be held
            self._admission.check_held(now, requests=len(self._active) - 1, own=own)
        except NoWorker as error:
            self._finish(request, error)
            return
        if not request.shards:
            self._finish(request)
            return
        if self.suspects.refused and (fatal := self.suspects.find(request.rows)):
            self._finish(request, fatal)
            return
        self._gathering.begin(now)
        self.queue.push(request, now)
        self._soon()

    def cancel(self, request: Request) -> None:
        """Drop a request whose client is gone and close its calls. It is not resolved."""
        if not request.finished:
            request.resolve = _nobody
            self._finish(request, outcome="ClientGone")
            self.pump()

    def close(self) -> None:
        """End every request with Closing; clients may try again elsewhere."""
        for request in tuple(self._active):
            self._finish(request, Closing())

    @property
    def backlog_seconds(self) -> float:
        """Work waiting and in flight, in seconds of the ready workers."""
        return self._admission.backlog_seconds(self._clock())

    # -- attempts -------------------------------------------------------------------------------

    def succeed(
        self, attempt: Attempt, vectors: Sequence[memoryview], process: bytes = UNTOLD
    ) -> None:
        """Handle an answer of a process: verify it, then deliver it."""
        if attempt.over:
            return
        now, worker = self._clock(), attempt.worker
        if not worker.answerers.believes(process, attempt.doubts):
            reason = "another process answered than the one that was examined"
            self.fail(attempt, WorkerReplaced(worker.url, reason))
            return
        flaw, lie = self._flaw(attempt.rows, vectors), ""
        if attempt.rider is not None and flaw is None:
            lie, vectors = self.witnesses.heard(attempt.rider, worker, attempt.rows, vectors)
        if flaw or lie:
            self.fail(attempt, (InvalidAnswer if flaw else Disproved)(worker.url, flaw or lie))
            return
        self._calls.end(attempt)
        worker.answered(now)
        self._budget.earn()
        self._calls.measure(attempt, now)
        at = 0
        for shard in attempt.shards:
            if shard.open:
                self._deliver(shard, vectors[at : at + shard.size], worker.revision)
            at += shard.size
            for refuser in self.quarantine.overrule(shard, now) if shard.delivered else ():
                self._retries.take_back(refuser)
        if worker.ready and not self.quarantine.loop_late:
            self.quarantine.check_pace(worker, now)
            self._retries.take_back(worker)
        self.pump()

    def fail(self, attempt: Attempt, error: Exception) -> None:
        """Handle an error: judge the worker by it and send the shards elsewhere."""
        if attempt.over:
            return
        now, worker = self._clock(), attempt.worker
        self._calls.end(attempt)
        self.counts[f"error_{type(error).__name__}"] += 1
        excused = attempt.cut or self.quarantine.excused(worker, now, WITNESS_SECONDS)
        failed = isinstance(error, WorkerFailed | InvalidAnswer)
        repeated = failed and all(shard.failed for shard in attempt.shards)
        evidence = Evidence.SUSPICION if repeated else weigh(error, excused=excused)
        if evidence is Evidence.SOFT:
            self._calls.measure(attempt, now)
        self.quarantine.judge(worker, error, evidence, now, canary=False)
        self._retries.take_back(worker, error, attempt)
        self._retries.after(attempt, error, now)
        self.pump()

    def is_to_wait(self, worker: Worker) -> bool:
        """Tell whether a worker must be proven by rows it never saw, and others make some."""
        return worker.disproved and any(other.ready for other in self.workers.values())

    def _disprove(self, worker: Worker, reason: str) -> None:
        """Take out a worker that others disproved."""
        error, now = Disproved(worker.url, reason), self._clock()
        self._judge(worker, error, Evidence.HARD, now, canary=False)

    def _judge(
        self, worker: Worker, error: Exception, evidence: Evidence, now: float, *, canary: bool
    ) -> None:
        """Apply an error to a worker; if that takes it out, its calls go elsewhere."""
        self.quarantine.judge(worker, error, evidence, now, canary=canary)
        self._retries.take_back(worker, error)

    # -- the pump -------------------------------------------------------------------------------

    def pump(self, *, quiet: bool = False) -> None:
        """Send what can be sent. Called after each event, and as the `Shell` is asked to.

        Our own loop is `quiet` if it has nothing else to do: then nothing waits for company.
        """
        now, calls_max = self._clock(), self.counts["attempts"] + _CALLS_A_TURN
        if now - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = now
            self._sweep(now)
        if self.suspects.waiting or self.suspects.out:
            ready = sum(worker.ready for worker in self.workers.values())
            for suspect in self.suspects.turn(len(self.workers), ready):
                self.queue.put_back(suspect)
        self._gathering.end_if(now, quiet=quiet, full_tokens=self.membership.split_tokens)
        while (
            not self.gathering
            and (shard := self.queue.peek()) is not None
            and self._handle(shard, now)
        ):
            if self.counts["attempts"] >= calls_max:
                self._soon()
                break
        self.queue.resume()
        if self._active:
            self._wake(min(now + _SWEEP_SECONDS, self._ranking.next_rested(now)))

    @property
    def gathering(self) -> bool:
        """Whether waiting requests are waiting for company."""
        return self._gathering.on

    def _handle(self, shard: Shard, now: float) -> bool:
        """Send the next shard, end its request, or step over it; false if all must wait."""
        if now >= shard.request.deadline:
            self._finish(shard.request, self._endings.too_late(shard.request, now))
        elif shard.refusals and (refused := self._endings.refused(shard, now)):
            self._finish(shard.request, refused)
        elif worker := self._placement.choose(shard, now):
            self._calls.start(self._placement.fill(worker, now), worker, now)
        elif self._placement.hopeless(shard, now):
            self._finish(shard.request, self._endings.too_late(shard.request, now))
        elif shard.tried or not self._placement.takes(shard):
            self.queue.step_over()  # only this shard has to wait for a particular worker
        else:
            return False  # or what is behind it would overtake it
        return True

    # -- shards and requests --------------------------------------------------------------------

    def _deliver(self, shard: Shard, vectors: Sequence[memoryview], revision: str) -> None:
        request = shard.request
        shard.losses = shard.invalid = 0
        if {self.membership.revision, request.revision} - {None, revision}:
            # its worker left, and another revision serves now or began the answer
            if not shard.attempts:
                self.queue.put_back(shard)
            return
        request.vectors[shard.start : shard.stop] = vectors
        request.missing -= shard.size
        request.revision = revision
        shard.delivered = True
        self._drop(shard)
        if request.missing == 0:
            self._finish(request)

    def _finish(
        self, request: Request, error: Exception | None = None, *, outcome: str = ""
    ) -> None:
        if request.finished:
            return
        request.finished, request.error = True, error
        for shard in request.shards:
            self._drop(shard)
        request.let_go()
        del self._active[request]
        if left := self._owners.pop(request.organization) - 1:
            self._owners[request.organization] = left
        self.counts[outcome or (type(error).__name__ if error else "served")] += 1
        request.resolve(request)

    def _drop(self, shard: Shard) -> None:
        """Stop working on a shard that no request needs anymore."""
        self.queue.discard(shard)
        for attempt in tuple(shard.attempts):
            if not any(other.open for other in attempt.shards):
                self._calls.abandon(attempt, self._clock())

    def _restart_others(self, revision: str) -> None:
        """Restart the requests that hold vectors of a revision other than this one."""
        for request in self._active:
            if request.revision in (None, revision):
                continue
            request.revision = None
            for shard in request.shards:
                if shard.delivered:
                    shard.delivered = False
                    request.missing += shard.size
                    self.queue.put_back(shard)

    # -- time -----------------------------------------------------------------------------------

    def _sweep(self, now: float) -> None:
        ready = any(worker.ready for worker in self.workers.values())
        for request in tuple(self._active):
            if now >= request.deadline:
                self._finish(request, self._endings.too_late(request, now))
            elif ready:
                request.hold_until = now + min(request.hold_seconds, _HOLD_SECONDS_MAX)
            elif now >= request.hold_until:
                self._finish(request, self._admission.no_worker(now))
        if not self.quarantine.loop_late:
            self._calls.double(now)


def _nobody(request: Request) -> None:
    """Replaces `resolve` when the client is gone."""
