"""The asyncio shell of one pool: a door for each worker, a task for each call.

Each worker has a client of its own, so that a hung one can't use up another's connections. All
decisions are the dispatcher's; what is here only carries them out.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from gateway.data_plane.routing import verification
from gateway.data_plane.routing.dispatcher import Dispatcher
from gateway.data_plane.routing.examination import Examiner, PoolSpec
from gateway.data_plane.routing.member import Door
from gateway.data_plane.routing.request import Attempt, Progress, Request
from gateway.data_plane.routing.worker import Change, State, Worker, WorkerView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backends.protocol import Backend, TokenRow
    from gateway.data_plane.routing.admission import Offer
    from gateway.data_plane.routing.lag import LoopLag
    from gateway.data_plane.routing.settings import RoutingSettings


class Pool:
    """The workers of one model. Made inside a running loop; `close` ends its tasks."""

    def __init__(
        self,
        spec: PoolSpec,
        *,
        connect: Callable[[str], Backend],
        settings: RoutingSettings,
        lag: LoopLag,
        gateways: Callable[[], int] = lambda: 1,
        observe: Callable[[str, str, Change], None] = lambda *_: None,
        random: random.Random | None = None,
    ) -> None:
        self.spec = spec
        self._settings = settings
        self._connect = connect
        self._observe = observe
        self._changed = asyncio.Event()
        self._examiner = Examiner(spec, settings)
        self.core = Dispatcher(
            settings,
            clock=time.monotonic,
            shell=self,
            flaw=partial(verification.flaw, norm_tolerance=settings.norm_tolerance),
            random=random or _unseeded(),
            lag=lag.seconds,
            gateways=gateways,
        )
        self._doors: dict[Worker, Door] = {}
        self._calls: dict[Attempt, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        """When the timer is due: uvloop's handle doesn't know, if that was at once."""

    # -- requests -------------------------------------------------------------------------------

    def admit(self, offer: Offer) -> None:
        """See `Router.admit`."""
        self.core.admit(offer)

    async def dispatch(
        self,
        rows: Sequence[TokenRow],
        offer: Offer,
        *,
        request_id: str = "",
        progress: Progress | None = None,
    ) -> list[memoryview]:
        """See `Router.dispatch`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request = Request(
            organization=offer.organization,
            rows=rows,
            deadline=offer.deadline,
            resolve=partial(_resolve, done),
            request_id=request_id,
            tier=offer.tier,
            weight=offer.weight,
            hold_seconds=offer.hold_seconds,
        )
        if progress is not None:
            progress.request = request
        self.core.submit(request)
        try:
            await done
        except asyncio.CancelledError:
            self.core.cancel(request)
            raise
        if request.error is not None:
            raise request.error
        vectors = [vector for vector in request.vectors if vector is not None]
        assert len(vectors) == len(rows), "a request was resolved without all its vectors"
        return vectors

    # -- workers --------------------------------------------------------------------------------

    def expect(self, spec: PoolSpec) -> None:
        """Hold the workers to another specification: each must prove itself anew, now."""
        if spec != self.spec:
            self.spec, self._examiner = spec, Examiner(spec, self._settings)
            for door in self._doors.values():
                door.suspect()

    def add(self, url: str) -> None:
        """Take a worker in, to be examined; one that is already here stays as it is."""
        if url in self.core.workers:
            return
        roster, backend = self.core.roster, self._connect(url)
        door = Door(roster.add(url, time.monotonic()), backend, roster, self._settings)
        self._doors[door.worker] = door
        door.task = asyncio.create_task(door.tend(lambda: self._examiner))

    def remove(self, url: str) -> None:
        """Let a worker go: it finishes what it has in hand, then its client is closed."""
        worker = self.core.workers.get(url)
        if worker is None:
            return
        self.core.roster.remove(worker, time.monotonic())
        door = self._doors[worker]
        if door.task is not None:
            door.task.cancel()
        self._close_if_done(door)

    def drain(self, url: str, reason: str = "drained by an operator") -> bool:
        """Send nothing new to a worker; false when it is not here."""
        worker = self.core.workers.get(url)
        if worker is not None:
            self.core.roster.drain(worker, reason, time.monotonic())
        return worker is not None

    def undrain(self, url: str) -> bool:
        """Let a drained worker prove itself again; false when it is not here."""
        worker = self.core.workers.get(url)
        if worker is not None:
            self.core.roster.undrain(worker, time.monotonic())
            self.examine(worker)
        return worker is not None

    def check(self, url: str) -> bool:
        """Examine a worker now; false when it is not here. The outcome shows in `workers`."""
        worker = self.core.workers.get(url)
        if worker is not None:
            self.examine(worker)
        return worker is not None

    def workers(self) -> list[WorkerView]:
        """Describe the workers."""
        now = time.monotonic()
        return [worker.view(now) for worker in self.core.workers.values()]

    async def wait_ready(self, workers: int = 1, *, timeout_seconds: float) -> bool:
        """Wait until so many workers are ready; false when they did not become so in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while sum(w.state is State.READY for w in self.core.workers.values()) < workers:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End all tasks and clients; requests in flight end with Closing."""
        self.core.close()
        if self._timer is not None:
            self._timer.cancel()
        for url in tuple(self.core.workers):
            self.remove(url)
        tasks = [door.task for door in self._doors.values() if door.task] + [*self._calls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for door in tuple(self._doors.values()):
            self._close_if_done(door)
        await asyncio.gather(*self._closing)

    # -- what the core asks of its shell --------------------------------------------------------

    def launch(self, attempt: Attempt) -> None:
        """Make the call."""
        task = self._calls[attempt] = asyncio.create_task(self._call(attempt))
        task.add_done_callback(partial(self._called, attempt))

    def abandon(self, attempt: Attempt) -> None:
        """Close the call: its connection goes with it, and the worker skips the work."""
        task = self._calls.get(attempt)
        if task is not None:
            task.cancel()

    def examine(self, worker: Worker) -> None:
        """Wake the worker's examiner."""
        door = self._doors.get(worker)
        if door is not None:
            door.suspect()

    def changed(self, worker: Worker) -> None:
        """Tell the observer, and whoever waits for a worker."""
        self._observe(self.spec.model, worker.url, worker.history[-1])
        self._changed.set()
        self._changed = asyncio.Event()
        door = self._doors.get(worker)
        if door is not None:
            door.changed()

    def wake(self, at: float) -> None:
        """Pump at this time, or at the earlier one already asked for."""
        if self._timer is not None:
            if self._wakes_at <= at:
                return
            self._timer.cancel()
        self._wakes_at = at
        self._timer = asyncio.get_running_loop().call_later(at - time.monotonic(), self._pump)

    # -- tasks ----------------------------------------------------------------------------------

    async def _call(self, attempt: Attempt) -> None:
        backend = self._doors[attempt.worker].backend
        try:
            vectors = await backend.embed(
                attempt.rows,
                timeout_seconds=attempt.timeout_seconds,
                request_id=attempt.request_id,
            )
        except Exception as error:  # noqa: BLE001 - the core weighs it, whatever it is
            self.core.fail(attempt, error)
        else:
            self.core.succeed(attempt, vectors)

    def _called(self, attempt: Attempt, _: asyncio.Task[None]) -> None:
        # not in a `finally`: a task that is cancelled before its first step never gets there
        del self._calls[attempt]
        self._close_if_done(self._doors[attempt.worker])

    def _pump(self) -> None:
        self._timer = None
        self.core.pump()

    def _close_if_done(self, door: Door) -> None:
        if door.worker.state is not State.GONE or door.worker not in self._doors:
            return
        if not any(attempt.worker is door.worker for attempt in self._calls):
            del self._doors[door.worker]
            task = asyncio.create_task(door.backend.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _resolve(done: asyncio.Future[None], _: Request) -> None:
    if not done.done():
        done.set_result(None)


def _unseeded() -> random.Random:
    return random.Random()  # noqa: S311 - jitter, no secret
