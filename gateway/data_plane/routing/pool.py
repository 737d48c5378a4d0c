"""The asyncio shell of one pool: a member for each worker, a future for each call.

Each worker has its own client, so that a hung one can't use up another's connections. The
dispatcher decides; this module carries it out. It also measures how late our own event loop is: a
timeout while the loop was late counts against no worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from backends.protocol import NO_HEADERS, Backend, TokenRow
from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.answerers import UNTOLD
from gateway.data_plane.routing.dispatcher import Dispatcher
from gateway.data_plane.routing.examination import Examiner, PoolSpec, flaw
from gateway.data_plane.routing.member import PoolMember
from gateway.data_plane.routing.request import Attempt, Progress, Request
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import WorkerChange, WorkerState, WorkerView

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Call, Trace

_QUIET_SECONDS = 0.00005
"""A turn of the loop that took no longer than this had next to nothing to do."""


class Pool:
    """The workers of one model. Made inside a running loop; `close` ends its tasks."""

    def __init__(
        self,
        spec: PoolSpec,
        *,
        connect: Connect,
        settings: RoutingSettings,
        lag: LoopLag,
        gateways: Callable[[], int],
        observe: Callable[[str, str, WorkerChange], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.spec = spec
        self._settings = settings
        self._connect = connect
        self._observe = observe
        self._examiner = Examiner(spec)
        self.core = Dispatcher(
            settings,
            clock=time.monotonic,
            shell=self,
            flaw=flaw,
            random=random.Random(),  # noqa: S311 - jitter, no secret
            lag=lag.seconds,
            gateways=gateways,
        )
        self.core.witnesses.expect(spec.golden)
        self._members: dict[Worker, PoolMember] = {}
        self._calls: dict[Attempt, asyncio.Future[list[memoryview]]] = {}
        self._spans: dict[Attempt, Call] = {}
        """Of those that carry sampled requests."""
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        """When the timer is due: uvloop gives a handle without a time if that is at once."""
        self._turning = False
        self._turned_at = 0.0
        """When the turn of the loop began that ends with a pump."""

    # -- requests -------------------------------------------------------------------------------

    async def dispatch(
        self,
        rows: Sequence[TokenRow],
        offer: Offer,
        *,
        request_id: str = "",
        progress: Progress | None = None,
        trace: Trace | None = None,
    ) -> list[memoryview]:
        """See `Router.dispatch`."""
        done: asyncio.Future[None] = self._loop.create_future()
        request = Request(
            organization=offer.organization,
            rows=rows,
            deadline=offer.deadline,
            resolve=partial(_resolve, done),
            request_id=request_id,
            tier=offer.tier,
            hold_seconds=offer.hold_seconds,
            trace=trace,
        )
        if trace is not None:
            trace.wait()
        if progress is not None:
            progress.request = request
        self.core.submit(request)
        try:
            await done
        except asyncio.CancelledError:
            self.core.cancel(request)
            raise
        if request.error is not None:
            try:
                raise request.error
            finally:
                del request, progress  # the error's traceback holds this frame
        vectors = [vector for vector in request.vectors if vector is not None]
        assert len(vectors) == len(rows), "a request was resolved without all its vectors"
        return vectors

    # -- workers --------------------------------------------------------------------------------

    def expect(self, spec: PoolSpec) -> None:
        """Change what the workers must serve: each is examined again now."""
        if spec != self.spec:
            self.spec, self._examiner = spec, Examiner(spec)
            self.core.witnesses.expect(spec.golden)
            for member in self._members.values():
                member.suspect()

    def add(self, url: str, *, name: str = "", guest: bool = False) -> None:
        """Add a worker, to be examined; nothing changes if it is already here. See `News`."""
        if url in self.core.workers:
            return
        backend = self._connect(url, name=name, guest=guest)
        worker = self.core.membership.add(url, time.monotonic())
        backend.on_lost = partial(self.core.quarantine.doubt, worker)
        member = self._members[worker] = PoolMember(worker, backend, self.core, self._settings)
        member.task = asyncio.create_task(member.tend(lambda: self._examiner))

    def remove(self, url: str) -> None:
        """Remove a worker: it finishes its calls, then its client is closed."""
        worker = self.core.workers.get(url)
        if worker is None:
            return
        self.core.membership.remove(worker, time.monotonic())
        member = self._members[worker]
        if member.task is not None:
            member.task.cancel()
        self._close_if_done(member)

    def drain(self, url: str) -> None:
        """Send nothing new to a worker, if it is here."""
        if worker := self.core.workers.get(url):
            self.core.membership.drain(worker, "drained by an operator", time.monotonic())

    def undrain(self, url: str) -> None:
        """Let a drained worker prove itself again."""
        if worker := self.core.workers.get(url):
            self.core.membership.undrain(worker, time.monotonic())
            self.examine(worker)

    def check(self, url: str) -> None:
        """Examine a worker now, if it is here; `workers` shows the outcome."""
        if worker := self.core.workers.get(url):
            self.examine(worker)

    def workers(self) -> list[WorkerView]:
        """Return what others may see of the workers."""
        now = time.monotonic()
        return [worker.view(now) for worker in self.core.workers.values()]

    def certificates(self) -> dict[str, float]:
        """Return when the certificate of each worker ends, in Unix time, as far as it is known."""
        ends = {
            member.worker.url: getattr(member.backend, "certificate_ends_at", None)
            for member in self._members.values()  # only the client of our own hop reads it
        }
        return {url: at for url, at in ends.items() if at is not None}

    async def close(self) -> None:
        """Close all tasks and clients; requests end with Closing."""
        self.core.close()
        if self._timer is not None:
            self._timer.cancel()
        for url in tuple(self.core.workers):
            self.remove(url)
        tasks = [member.task for member in self._members.values() if member.task]
        ending: list[asyncio.Future[Any]] = [*tasks, *self._calls.values()]
        for future in ending:
            future.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for member in tuple(self._members.values()):
            self._close_if_done(member)
        await asyncio.gather(*self._closing)

    # -- the core's shell -----------------------------------------------------------------------

    def launch(self, attempt: Attempt) -> None:
        """Make the call."""
        spans: Call | None = None
        for shard in attempt.shards:
            if (trace := shard.request.trace) is not None:
                if spans is None:
                    spans = self._spans[attempt] = self._call(attempt, trace)
                spans.carry(trace)
        try:
            embedding = self._members[attempt.worker].backend.embed(
                attempt.rows,
                timeout_seconds=attempt.timeout_seconds,
                request_id=attempt.request_id,
                headers=NO_HEADERS if spans is None else spans.headers,
            )
        except Exception as error:  # noqa: BLE001 - the core weighs every error, once it is back
            call: asyncio.Future[list[memoryview]] = self._loop.create_future()
            call.set_exception(error)
        else:
            call = asyncio.ensure_future(embedding)
        self._calls[attempt] = call
        call.add_done_callback(partial(self._called, attempt))

    def abandon(self, attempt: Attempt) -> None:
        """Cancel the call: its connection is closed, and the worker skips the work."""
        call = self._calls.get(attempt)
        if call is not None:
            call.cancel()

    def examine(self, worker: Worker) -> None:
        """Wake the worker's examiner."""
        member = self._members.get(worker)
        if member is not None:
            member.suspect()

    def changed(self, worker: Worker) -> None:
        """Tell the observer and the worker's examiner."""
        self._observe(self.spec.model, worker.url, worker.history[-1])
        member = self._members.get(worker)
        if member is not None:
            member.changed()

    def soon(self) -> None:
        """Pump at the end of this turn of the loop, and of the next ones while it pays."""
        if not self._turning:
            self._turning, self._turned_at = True, float("-inf")
            self._loop.call_soon(self._turn)

    def wake(self, at: float) -> None:
        """Pump at this time, or at an earlier one that was asked for."""
        if self._timer is not None:
            if self._wakes_at <= at:
                return
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._loop.call_later(at - time.monotonic(), self._pump)

    def _call(self, attempt: Attempt, trace: Trace) -> Call:
        """Begin the spans of a call."""
        return trace.call(
            attempt.worker.url,
            self.spec.model,
            rows=len(attempt.rows),
            tokens=attempt.tokens,
            requests=len(attempt.shards),
            number=attempt.number,
        )

    # -- callbacks ------------------------------------------------------------------------------

    def _called(self, attempt: Attempt, call: asyncio.Future[list[memoryview]]) -> None:
        del self._calls[attempt]
        if self._spans and (spans := self._spans.pop(attempt, None)):
            error = None if call.cancelled() else call.exception()
            spans.end(error, canceled=call.cancelled())
        if not call.cancelled():
            error = call.exception()
            if error is None:
                # only a call of our own hop knows who answered it
                self.core.succeed(attempt, call.result(), getattr(call, "process", UNTOLD))
            elif isinstance(error, Exception):
                self.core.fail(attempt, error)
        self._close_if_done(self._members[attempt.worker])

    def _pump(self) -> None:
        self._timer = None
        self.core.pump()

    def _turn(self) -> None:
        now = time.monotonic()
        self.core.pump(quiet=now - self._turned_at < _QUIET_SECONDS)
        self._turning, self._turned_at = self.core.gathering, now
        if self._turning:
            self._loop.call_soon(self._turn)

    def _close_if_done(self, member: PoolMember) -> None:
        if member.worker.state is not WorkerState.GONE or member.worker not in self._members:
            return
        if not any(attempt.worker is member.worker for attempt in self._calls):
            del self._members[member.worker]
            task = asyncio.create_task(member.backend.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _resolve(done: asyncio.Future[None], _: Request) -> None:
    if not done.done():
        done.set_result(None)


class Connect(Protocol):
    """Makes a worker's client; `backends.registry.connect` does."""

    def __call__(self, url: str, *, name: str, guest: bool) -> Backend:
        """Make it: `name` is whose key it has, if not its address's; a `guest` registered."""
        ...


class LoopLag:
    """Ticks, and remembers the latest tick of the last `memory_seconds`."""

    def __init__(self, *, tick_seconds: float = 0.05, memory_seconds: float = 1.0) -> None:
        self._tick_seconds = tick_seconds
        self._memory_seconds = memory_seconds
        self._due = 0.0
        self._worst = 0.0
        self._worst_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.late_seconds = 0.0
        """How late all ticks were together."""

    def start(self) -> None:
        """Start to tick; needs a running loop."""
        if self._task is None:
            self._due = time.monotonic() + self._tick_seconds
            self._task = asyncio.create_task(self._run())

    def seconds(self) -> float:
        """Worst recent lateness, including that of a tick that is overdue now."""
        if self._task is None:
            return 0.0
        now = time.monotonic()
        recent = self._worst if now - self._worst_at < self._memory_seconds else 0.0
        return max(recent, now - self._due, 0.0)

    async def close(self) -> None:
        """Stop ticking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            now = time.monotonic()
            late = now - self._due
            self.late_seconds += max(late, 0.0)
            if late >= self._worst or now - self._worst_at > self._memory_seconds:
                self._worst, self._worst_at = max(late, 0.0), now
            self._due = now + self._tick_seconds
