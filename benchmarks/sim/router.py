"""The real dispatcher in virtual time: only its calls are simulated."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

from backends.protocol import TokenRow, WorkerFailed, WorkerInfo, WorkerTimeout
from benchmarks.sim.clock import VirtualClock
from benchmarks.sim.engine import BATCH_SECONDS, BATCH_TOKENS, TOKENS_PER_SECOND, Engine, Job
from benchmarks.sim.traffic import Arrival
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.dispatcher import Dispatcher
from gateway.data_plane.routing.member import PROBE_SECONDS_MIN
from gateway.data_plane.routing.outcomes import Shed
from gateway.data_plane.routing.request import Attempt, Request
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import EJECT_FACTOR, Worker
from gateway.snapshots import WorkerState

_INFO = WorkerInfo(
    model="sim",
    revision="sim",
    dtype="float16",
    dimensions=(1,),
    tokens_max=8192,
    rows_max=2048,
    batch_tokens_max=BATCH_TOKENS,
    vocabulary_sha256="",
)
_VECTOR = memoryview(bytes(4))
_NO_DEADLINE_SECONDS = 3600.0
_CANARY_TOKENS = 64
SETTINGS = RoutingSettings(
    backlog_seconds_max=600.0,
    organization_backlog_seconds_max=600.0,
    backlog_tokens_max=10**9,
    requests_max=10**6,
)
"""Only a deadline sheds, if there is one."""


class Routed:
    """The dispatcher as a policy, and its shell in virtual time."""

    def __init__(
        self,
        clock: VirtualClock,
        engines: Sequence[Engine],
        source: random.Random,
        done: Callable[[Arrival, bool], None],
        *,
        settings: RoutingSettings = SETTINGS,
        gateways: int = 1,
        deadline_seconds: float | None = None,
    ) -> None:
        """Without a deadline nothing is shed, as the other policies shed nothing."""
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._done = done
        self._engines = {f"w{index}": engine for index, engine in enumerate(engines)}
        self._jobs: dict[Attempt, tuple[Engine, Job]] = {}
        self._examined: set[Worker] = set()
        self._wake_at = float("inf")
        self.core = Dispatcher(
            settings,
            clock=lambda: clock.now,
            shell=self,
            flaw=lambda _rows, _vectors: None,
            random=source,
            gateways=lambda: gateways,
        )
        for url in self._engines:
            worker = self.core.membership.add(url, clock.now)
            line = (BATCH_SECONDS, 1 / TOKENS_PER_SECOND)
            self.core.membership.examined(worker, _INFO, line, "simulated", clock.now)

    def take(self, arrival: Arrival) -> None:
        """Submit a request to the dispatcher, if it is admitted."""
        if self._deadline_seconds is not None:
            deadline = self._clock.now + self._deadline_seconds
            try:
                self.core.admit(Offer(arrival.organization, arrival.tokens, deadline))
            except Shed:
                self._done(arrival, False)
                return
        self.core.submit(
            Request(
                organization=arrival.organization,
                rows=[TokenRow(bytes(4 * tokens), 1) for tokens in arrival.rows],
                deadline=self._clock.now + (self._deadline_seconds or _NO_DEADLINE_SECONDS),
                resolve=lambda request: self._done(arrival, request.error is None),
            )
        )

    def launch(self, attempt: Attempt) -> None:
        """Call the engine, with a timeout."""
        engine = self._engines[attempt.worker.url]
        rows = [row.tokens for row in attempt.rows]
        job = engine.call(rows, partial(self._came, attempt))
        self._jobs[attempt] = engine, job
        late = self._clock.now + attempt.timeout_seconds
        self._clock.at(late, partial(self._late, attempt))

    def abandon(self, attempt: Attempt) -> None:
        """Cancel the job at the engine."""
        engine, job = self._jobs.pop(attempt)
        engine.cancel(job)

    def examine(self, worker: Worker) -> None:
        """Examine a worker in a moment, only once however often this is called."""
        if worker not in self._examined:
            self._examined.add(worker)
            self._clock.at(self._clock.now, partial(self._examine, worker))

    def changed(self, worker: Worker) -> None:
        """Examine a quarantined worker when it is due."""
        if worker.state is WorkerState.QUARANTINED:
            self._clock.at(self._clock.now, partial(self._later, worker))

    def soon(self) -> None:
        """Pump when what happens at this time has happened."""
        self._clock.at(self._clock.now, partial(self.core.pump, quiet=True))

    def wake(self, at: float) -> None:
        """Pump at this time."""
        if at < self._wake_at:
            self._wake_at = at
            self._clock.at(at, self._pump)

    def _pump(self) -> None:
        if self._clock.now >= self._wake_at:
            self._wake_at = float("inf")
            self.core.pump()

    def _came(self, attempt: Attempt, good: bool) -> None:
        self._jobs.pop(attempt)
        if good:
            self.core.succeed(attempt, [_VECTOR] * len(attempt.rows))
        else:
            self.core.fail(attempt, WorkerFailed(attempt.worker.url, "500"))

    def _late(self, attempt: Attempt) -> None:
        if attempt in self._jobs:
            self.abandon(attempt)
            self.core.fail(attempt, WorkerTimeout(attempt.worker.url, "late"))

    def _later(self, worker: Worker) -> None:
        due = self._clock.now + self.core.membership.seconds_to_examination(worker, self._clock.now)
        self._clock.at(due, partial(self.examine, worker))

    def _examine(self, worker: Worker) -> None:
        """A canary in virtual time: what a small call would show."""
        self._examined.discard(worker)
        engine, now = self._engines[worker.url], self._clock.now
        allowed = max(PROBE_SECONDS_MIN, EJECT_FACTOR * worker.speed.expected(_CANARY_TOKENS))
        seconds = (BATCH_SECONDS + engine.tokens / TOKENS_PER_SECOND) * engine.slowness
        if engine.broken:
            self.core.membership.failed(worker, WorkerFailed(worker.url, "500"), now)
        elif seconds > allowed:
            self.core.membership.failed(worker, WorkerTimeout(worker.url, "a late canary"), now)
        else:
            self.core.membership.examined(worker, _INFO, None, "simulated", now)
        if worker.state is WorkerState.QUARANTINED:
            self._later(worker)
