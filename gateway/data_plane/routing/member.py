"""A worker's door: its client, and the task that examines it for as long as it is here.

A ready worker is asked what it serves at every look. It computes a canary when it was idle, when
something about it or about what is expected of it is suspicious, and every so often however busy
it is: what serves without a pause must not thereby escape.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from gateway.data_plane.routing.worker import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.protocol import Backend
    from gateway.data_plane.routing.examination import Examiner
    from gateway.data_plane.routing.membership import Roster
    from gateway.data_plane.routing.settings import RoutingSettings
    from gateway.data_plane.routing.worker import Worker

log = structlog.get_logger()


class Door:
    """One worker and its client. `tend` runs until it is cancelled."""

    def __init__(
        self, worker: Worker, backend: Backend, roster: Roster, settings: RoutingSettings
    ) -> None:
        self.worker = worker
        self.backend = backend
        self.task: asyncio.Task[None] | None = None
        self._roster = roster
        self._settings = settings
        self._look = asyncio.Event()
        self._suspicious = False
        self._proven_at = float("-inf")

    def suspect(self) -> None:
        """Have the worker examined now, with a canary."""
        self._suspicious = True
        self._look.set()

    def changed(self) -> None:
        """Note that its state changed, and thereby when it is next due."""
        self._look.set()

    async def tend(self, examiner: Callable[[], Examiner]) -> None:
        """Examine the worker when it is due, or suspicious, by whoever examines at the time.

        An exception of ours ends one examination, never the task: no other would bring it back.
        """
        while True:
            try:
                await self._tend(examiner)
            except Exception:
                log.exception("an examination broke", url=self.worker.url)
                await asyncio.sleep(self._settings.warming_seconds)

    async def _tend(self, examiner: Callable[[], Examiner]) -> None:
        pause = self._roster.seconds_to_examination(self.worker, time.monotonic())
        changed = await _wait(self._look, pause)
        suspicious, self._suspicious = self._suspicious, False
        if changed and not suspicious:
            return  # another state has another pause
        if self.worker.state is not State.DRAINING:
            await self._examine(examiner(), suspicious=suspicious)

    async def _examine(self, examiner: Examiner, *, suspicious: bool) -> None:
        worker, settings = self.worker, self._settings
        allowed = settings.examination_seconds_max
        if worker.calibrated:
            expected = worker.speed.expected(settings.canary_tokens_max + worker.tokens)
            allowed = max(settings.probe_seconds_min, settings.eject_factor * expected)
        line: tuple[float, float] | None = None
        proof: str | None = None
        try:
            info = await examiner.handshake(
                self.backend, timeout_seconds=min(allowed, settings.handshake_seconds_max)
            )
            if suspicious or self._due(time.monotonic()):
                proof = await examiner.canary(self.backend, info, timeout_seconds=allowed)
                self._proven_at = time.monotonic()
            if not worker.calibrated:
                self._roster.calibrating(worker, time.monotonic())
                line = await examiner.calibrate(self.backend, info, timeout_seconds=allowed)
        except Exception as error:  # noqa: BLE001 - the core weighs it, whatever it is
            self._roster.failed(worker, error, time.monotonic())
        else:
            self._roster.examined(worker, info, line, proof, time.monotonic())

    def _due(self, now: float) -> bool:
        """Whether the worker must compute something at this look."""
        settings = self._settings
        return (
            self.worker.state is not State.READY
            or now - self.worker.used_at >= settings.check_seconds
            or now - self._proven_at >= settings.canary_seconds
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
