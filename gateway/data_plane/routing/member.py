"""A member of a pool: a worker, its client, and the task that examines it until it leaves.

Each check asks a ready worker what it serves. It computes a canary when it was idle, when something
about it or its expectations is suspicious, and from time to time however busy it is: a worker that
is never idle must not escape.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from backends.protocol import Backend, WorkerInfo
from gateway.data_plane.routing.dispatcher import Dispatcher
from gateway.data_plane.routing.examination import Examiner
from gateway.data_plane.routing.interview import Interview
from gateway.data_plane.routing.quarantine import NotReady
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.witnesses import Disproved
from gateway.data_plane.routing.worker import EJECT_FACTOR, Worker
from gateway.snapshots import WorkerState

PROBE_SECONDS_MIN = 0.5
"""The shortest timeout of an examination of a worker whose speed is known."""
_EXAMINATION_SECONDS_MAX = 30.0
"""Timeout of an examination before the worker's speed is known."""
_HANDSHAKE_SECONDS_MAX = 2.0
"""Timeout for asking what a worker serves: a warm one answers from memory."""
_CANARY_TOKENS_MAX = 512
"""The most tokens that golden rows should have in total; their timeout follows from it."""

log = structlog.get_logger()


class PoolMember:
    """One worker and its client. `tend` runs until it is cancelled."""

    def __init__(
        self,
        worker: Worker,
        backend: Backend,
        core: Dispatcher,
        settings: RoutingSettings,
    ) -> None:
        self.worker = worker
        self.backend = backend
        self.task: asyncio.Task[None] | None = None
        self._core = core
        self._membership = core.membership
        self._settings = settings
        self._look = asyncio.Event()
        self._suspicious = False
        self._proven_at = float("-inf")

    def suspect(self) -> None:
        """Have the worker examined now, with a canary."""
        self._suspicious = True
        self._look.set()

    def changed(self) -> None:
        """Reconsider when the worker is due: its state changed."""
        self._look.set()

    async def tend(self, examiner: Callable[[], Examiner]) -> None:
        """Examine the worker when it is due or suspicious, with the pool's current examiner.

        Our own exceptions end one examination, never the task: nothing would restart it.
        """
        while True:
            try:
                await self._tend(examiner)
            except Exception:
                log.exception("examination failed by our own mistake", url=self.worker.url)
                await asyncio.sleep(self._settings.warming_seconds)

    async def _tend(self, examiner: Callable[[], Examiner]) -> None:
        pause = self._membership.seconds_to_examination(self.worker, time.monotonic())
        changed = await _wait(self._look, pause)
        suspicious, self._suspicious = self._suspicious, False
        if changed and not suspicious:
            return  # another state has another pause
        if self.worker.state is not WorkerState.DRAINING:
            await self._examine(examiner(), suspicious=suspicious)

    async def _examine(self, examiner: Examiner, *, suspicious: bool) -> None:
        worker = self.worker
        allowed = _EXAMINATION_SECONDS_MAX
        if worker.calibrated:
            expected = worker.speed.expected(_CANARY_TOKENS_MAX + worker.tokens)
            allowed = max(PROBE_SECONDS_MIN, EJECT_FACTOR * expected)
        line: tuple[float, float] | None = None
        proof: str | None = None
        interview, doubts = Interview(self.backend), worker.answerers.doubts
        self._membership.asking(worker, time.monotonic())
        try:
            info = await examiner.handshake(
                interview, timeout_seconds=min(allowed, _HANDSHAKE_SECONDS_MAX)
            )
            if suspicious or self._due(time.monotonic()):
                proof = await self._prove(examiner, interview, info, allowed)
                self._proven_at = time.monotonic()
                worker.answerers.examined(interview.processes, doubts)
            if not worker.calibrated:
                self._membership.calibrating(worker, time.monotonic())
                line = await examiner.calibrate(self.backend, info, timeout_seconds=allowed)
        except Exception as error:  # noqa: BLE001 - the core weighs every error
            self._membership.failed(worker, error, time.monotonic())
        else:
            self._membership.examined(worker, info, line, proof, time.monotonic())

    async def _prove(
        self, examiner: Examiner, interview: Interview, info: WorkerInfo, allowed: float
    ) -> str:
        """Compare its vectors with golden ones, and with other workers' vectors of real rows."""
        known = self._core.witnesses.questions(self.worker, info)
        if not known and self._core.is_to_wait(self.worker):
            # what it learned proves nothing; the next calls bring rows that it can't know
            raise NotReady(self.backend.url, "disproved; waits for a row that it never saw")
        proof, vectors = await examiner.canary(
            interview, info, timeout_seconds=allowed, among=[one.row for one in known]
        )
        for one, vector in zip(known, vectors, strict=True):
            if lie := self._core.witnesses.compare(one, self.worker, vector):
                raise Disproved(self.backend.url, lie)
        return proof

    def _due(self, now: float) -> bool:
        """Whether the worker must compute something in this check."""
        return (
            not self.worker.ready
            or self.worker.answerers.doubted
            or self.worker.failures > 0
            or now - self.worker.used_at >= self._settings.check_seconds
            or now - self._proven_at >= self._settings.canary_seconds
        )


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; true when it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
