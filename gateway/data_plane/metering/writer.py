"""The one writer of a process: it sends ticks to the ledger, one at a time.

The ledger is away while it doesn't answer, and refuses while it can't apply some organizations'
usage: these are set apart (refusals.py) and frozen, and all others continue.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import structlog

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journaling import Journaling
from gateway.data_plane.metering.leases import NEVER
from gateway.data_plane.metering.messages import Ledger, LedgerRefused, LedgerUnavailable
from gateway.data_plane.metering.protocol import EveryTickRefused, LeaseProtocol, Sent

log = structlog.get_logger()

_LATE_SECONDS = 1.0
_FROZEN_MAX = 8
"""Most set-apart organizations that a process freezes. If the ledger refuses more, their books are
hardly the reason: the rest are only set apart here, until the ledger accepts them again."""

LedgerState = Literal["reachable", "away", "refuses"]
"""`refuses`: it can't apply what some organizations used, or nothing at all."""


class LedgerWriter:
    """Sends what the protocol composes, and knows the state of the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        book: LeaseBook,
        protocol: LeaseProtocol,
        journaling: Journaling,
        *,
        rules: EngineRules,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._protocol = protocol
        self._journaling = journaling
        self._rules = rules
        self._idle: asyncio.Future[None] | None = None
        """Done to wake the writer; None while it works."""
        self._stopping = False
        self._freezing: set[asyncio.Task[None]] = set()
        self._crediting: asyncio.Task[None] | None = None
        self._away_since: float | None = None
        self._refuses_all = False
        self._asked_at: float | None = None
        """When the tick in flight was sent."""
        self._charged_at = NEVER
        """When the last tick with usage was sent."""
        self._pause_seconds = rules.retry_seconds
        self.written_off = 0
        """Requests that were served but could not be charged."""
        self.refusals = 0
        """Ticks that the ledger refused."""

    @property
    def reachable(self) -> bool:
        """Whether the ledger answered the last tick."""
        return self._away_since is None

    @property
    def is_late(self) -> bool:
        """Whether the ledger is away, or has not answered for a second."""
        return not self.reachable or self.away_seconds > _LATE_SECONDS

    @property
    def away_seconds(self) -> float:
        """How long the ledger has not answered, or has refused everything; 0 while it does not."""
        since = self._asked_at if self._away_since is None else self._away_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def state(self) -> LedgerState:
        """Whether the ledger answers, and accepts everyone's usage."""
        if self._refuses_all or (self.reachable and self.refused_organizations):
            return "refuses"
        return "reachable" if self.reachable else "away"

    @property
    def refused_organizations(self) -> int:
        """How many organizations are set apart because the ledger refuses their usage."""
        return len(self._protocol.refusals.apart)

    async def run(self) -> None:
        """Send ticks until it is told to `stop` and the ledger has everything."""
        try:
            while not (self._stopping and self._protocol.done):
                await self._turn_or_pause()
            if self._crediting is not None:
                await self._crediting
        finally:
            tasks = [task for task in (*self._freezing, self._crediting) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Return everything, and then end `run`."""
        self._stopping = True
        self._protocol.stop()
        self.wake()

    def wake(self) -> None:
        """Check whether there is something to send."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _turn_or_pause(self) -> None:
        try:
            answered = await self._turn()
        except Exception as error:  # noqa: BLE001 - this is the only writer
            self._away(error)
            answered = False
        if not answered:
            self._journaling.look()
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(self._pause_seconds * 2, self._rules.retry_seconds_max)

    async def _turn(self) -> bool:
        due = self._protocol.due_in()
        if due is None or due > 0:
            await self._sleep(due)
        gathers = self._charged_at + self._rules.gather_seconds - time.monotonic()
        hurries = self._book.asking or self._protocol.refusals.are_sought  # others wait for these
        if gathers > 0 and self._book.outbox and not hurries:
            await asyncio.sleep(gathers)
        sent = self._protocol.compose()
        if sent is None:
            await asyncio.sleep(0)
            return True
        return await self._tick(sent)

    async def _tick(self, sent: Sent) -> bool:
        self._asked_at = time.monotonic()
        if sent.entries:
            self._charged_at = self._asked_at
        span, failure = None, None
        if sent.traces:
            span = sent.traces[0].tick(sent.traces, sent.tick.number, len(sent.entries))
        try:
            answer = await self._ledger.tick(sent.tick)
            self._protocol.applied(sent, answer)
        except LedgerRefused as error:
            failure = type(error).__name__  # the error itself would hold this frame
            return self._refused(sent, error)
        except Exception as error:  # noqa: BLE001 - after any error the outcome is unknown
            failure = type(error).__name__
            self._protocol.failed(sent)
            self._away(error)
            return False
        finally:
            self._asked_at = None
            self._journaling.count_off(sent.entries)
            if span is not None:
                span.end(failure)
        self._heard()
        if answer.written_off:
            self.written_off += len(answer.written_off)
            log.error("usage written off", requests=answer.written_off)
        if self._book.charged_unknown and self._crediting is None:
            self._crediting = asyncio.create_task(self._credit_back())
        await self._journaling.clean()
        return True

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until there is work. What is settled in this turn of the loop joins it."""
        loop = asyncio.get_running_loop()
        self._idle = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self.wake)
        try:
            await self._idle
        finally:
            self._idle = None
            if timer is not None:
                timer.cancel()

    def _heard(self) -> None:
        """Record that the ledger answered."""
        if self._away_since is not None:
            log.info("ledger reachable", seconds=round(time.monotonic() - self._away_since, 3))
        self._away_since = None
        self._refuses_all = self._book.is_closed = False
        self._pause_seconds = self._rules.retry_seconds

    def _away(self, error: Exception) -> None:
        """Record that the ledger did not answer, refuses all, or sent something invalid."""
        refuses = isinstance(error, LedgerRefused)
        if self._away_since is None or refuses != self._refuses_all:
            ours = not isinstance(error, LedgerUnavailable | LedgerRefused)
            words = "the ledger refuses every tick" if refuses else "ledger unreachable"
            log.error(words, reason=str(error), exc_info=error if ours else None)
        self._refuses_all = refuses
        self._book.is_closed = self._journaling.has_failed
        if self._away_since is None:
            self._away_since = time.monotonic()

    def _refused(self, sent: Sent, error: LedgerRefused) -> bool:
        """Handle a tick that the ledger refused; return whether another may be sent at once."""
        self.refusals += 1
        try:
            found = self._protocol.refused(sent)
        except EveryTickRefused:
            self._away(error)
            return False
        self._heard()
        if found is not None:
            log.error("the ledger refuses an organization", organization=found, reason=str(error))
            if self.refused_organizations <= _FROZEN_MAX:
                task = asyncio.create_task(self._freeze(found, str(error)))
                self._freezing.add(task)
                task.add_done_callback(self._freezing.discard)
            else:
                log.error("the ledger refuses many organizations", frozen=_FROZEN_MAX)
        return True

    async def _credit_back(self) -> None:
        """Credit back charges whose clients were told that the outcome is unknown."""
        charged = self._book.charged_unknown
        while charged:
            entry = charged.popleft()
            try:
                nanos = await self._ledger.credit_back(entry.line)
            except Exception as error:  # noqa: BLE001 - tried again until the ledger takes it
                log.error("not credited back", request=entry.request_id, reason=str(error))
                charged.append(entry)
                await asyncio.sleep(self._rules.retry_seconds_max)
                continue
            log.warning("credited back", request=entry.request_id, nanos=nanos)
            entry.unknown = False
            entry.finish()
            self._journaling.count_off([entry])
        self._crediting = None

    async def _freeze(self, organization_id: str, reason: str) -> None:
        """Freeze an organization for all processes, for operators to see and to end."""
        try:
            await self._ledger.freeze(organization_id, reason)
        except Exception as error:  # noqa: BLE001 - it is set apart here in any case
            log.error("not frozen", organization=organization_id, reason=str(error))
