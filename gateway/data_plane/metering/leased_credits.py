"""The `Credits` port by leases: the book in memory, one writer to the ledger, and the journal.

A settled request is acknowledged once the ledger has committed it. If that takes longer than
`commit_seconds`, or the ledger is unreachable, the journal makes it durable instead and the ledger
gets it later. New credit comes only from the ledger: during an outage requests are served until the
leases are spent or expire, and fail with 503 after that.

The writer and the adopter of journals run as long as the engine: a failure in one of their turns is
logged, counts as a tick without an answer, and is retried. Sending usage twice charges it once,
because the ledger knows a request by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.journal import Adopter, Journal, JournalError
from gateway.data_plane.metering.leases import Lease, LeaseRules, Purse, Settlement
from gateway.data_plane.metering.messages import Ledger, LedgerUnavailable
from gateway.data_plane.metering.port import Charge, CreditUnavailable, ReservationExpired
from gateway.data_plane.metering.protocol import LeaseProtocol, Sent

_T = TypeVar("_T")
log = structlog.get_logger()


class LeasedCredits:
    """Credit by leases. `start` it on the event loop that uses it, and `close` it."""

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        *,
        leases: LeaseRules | None = None,
        rules: EngineRules | None = None,
    ) -> None:
        self.rules = rules or EngineRules()
        self._ledger = ledger
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "journal")
        self._work = asyncio.Event()
        self.book = LeaseBook(leases or LeaseRules(), time.monotonic, self._work.set)
        self._protocol = LeaseProtocol(self.book)
        self._awaiting: deque[Settlement] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._journaling: asyncio.Task[None] | None = None
        self._segments: Counter[Path] = Counter()
        self._appending = 0
        """Appends in progress; which segment each goes to is known only when it ends."""
        self._finished: set[Path] = set()
        """Segments that the ledger has completely, to be removed."""
        self._adopter = Adopter(journal, self.book, self._in_thread)
        self._away_since: float | None = None
        self._asked_at: float | None = None
        """When the tick in flight was sent."""
        self._pause_seconds = self.rules.retry_seconds
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.written_off = 0
        """Requests that were answered and then could not be charged."""

    @property
    def reachable(self) -> bool:
        """Whether the ledger answered the last tick."""
        return self._away_since is None

    @property
    def away_seconds(self) -> float:
        """How long the ledger has not answered; 0 while it does."""
        since = self._asked_at if self._away_since is None else self._away_since
        return 0.0 if since is None else time.monotonic() - since

    async def start(self) -> None:
        """Start the writer, and the replay of dead processes' journals.

        Raises JournalError if the journal's folder can't be used.
        """
        await self._in_thread(self._journal.open)
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._adopt())]

    async def close(self) -> None:
        """Hand all usage to the ledger if it answers, to the journal if not."""
        self._protocol.stop()
        self._stopping.set()
        self._work.set()
        writer, adopter = self._tasks
        await asyncio.wait([writer], timeout=self.rules.close_seconds)
        for task in (writer, adopter):
            task.cancel()
        await asyncio.gather(writer, adopter, return_exceptions=True)
        if self._timer:
            self._timer.cancel()
        if self._journaling:
            await self._journaling
        await self._to_journal([entry for entry in self._awaiting if entry.done])
        await self._delete(stuck=True)
        await self._in_thread(self._journal.close)
        self._thread.shutdown()

    async def reserve(self, charge: Charge) -> int:
        """See `Credits.reserve`."""
        if self.book.unconfirmed >= self.book.rules.outbox_max:
            raise CreditUnavailable
        balance = self.book.reserve(charge)
        if balance is not None:
            return balance
        budget = None
        if charge.budget is not None:
            budget = await self._hold(self.book.budget_purse(charge), charge.cost_nanos)
        try:
            lease = await self._hold(self.book.purse(charge.organization_id), charge.cost_nanos)
        except BaseException:
            if budget is not None:
                self.book.give_back(budget, charge.cost_nanos)
            raise
        return self.book.hold(charge, lease, budget)

    async def settle(self, charge: Charge) -> None:
        """See `Credits.settle`."""
        entry = self.book.settle(charge)
        if entry is None:
            raise ReservationExpired
        finished = asyncio.Event()
        entry.done = finished.set
        self._awaiting.append(entry)
        if self._timer is None:
            self._wait_for(entry)
        await finished.wait()
        if entry.error is not None:
            raise entry.error

    async def release(self, charge: Charge) -> None:
        """See `Credits.release`."""
        self.book.release(charge)

    async def _hold(self, purse: Purse, cost_nanos: int) -> Lease:
        lease = self.book.take(purse, cost_nanos)
        if lease is not None:
            return lease
        away = self._away_since is not None and time.monotonic() - self._away_since
        if len(purse.waiters) >= self.book.rules.waiters_max or away > self.rules.credit_seconds:
            raise CreditUnavailable
        served = asyncio.Event()
        waiter = self.book.wait(purse, cost_nanos, served.set)
        try:
            async with asyncio.timeout(self.rules.credit_seconds):
                await served.wait()
        except TimeoutError:
            self.book.cancel(waiter)
            raise CreditUnavailable from None
        except asyncio.CancelledError:
            self.book.cancel(waiter)
            raise
        if waiter.error is not None:
            raise waiter.error
        assert waiter.lease is not None
        return waiter.lease

    async def _write(self) -> None:
        while not (self._stopping.is_set() and self._protocol.done):
            try:
                answered = await self._turn()
            except Exception as error:  # noqa: BLE001 - this is the only writer
                self._away(error)
                answered = False
            if not answered:
                self._journal_soon()
                await asyncio.sleep(self._pause_seconds)
                self._pause_seconds = min(self._pause_seconds * 2, self.rules.retry_seconds_max)

    async def _turn(self) -> bool:
        self._work.clear()
        due = self._protocol.due_in()
        if due is None or due > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), due)
        sent = self._protocol.compose()
        if sent is None:
            await asyncio.sleep(0)
            return True
        return await self._tick(sent)

    async def _tick(self, sent: Sent) -> bool:
        self._asked_at = time.monotonic()
        try:
            answer = await self._ledger.tick(sent.tick)
            self._protocol.applied(sent, answer)
        except Exception as error:  # noqa: BLE001 - after any error the outcome is unknown
            self._protocol.failed(sent)
            self._away(error)
            return False
        finally:
            self._asked_at = None
            self._count_off(sent)
        if self._away_since is not None:
            log.info("ledger reachable", seconds=round(time.monotonic() - self._away_since, 3))
            self._away_since = None
        self._pause_seconds = self.rules.retry_seconds
        if answer.written_off:
            self.written_off += len(answer.written_off)
            log.error("usage written off", requests=answer.written_off)
        await self._delete()
        return True

    def _away(self, error: Exception) -> None:
        """Record that the ledger did not answer, or sent something invalid."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            ours = not isinstance(error, LedgerUnavailable)
            log.error("ledger unreachable", reason=str(error), exc_info=error if ours else None)

    def _wait_for(self, entry: Settlement) -> None:
        due = entry.queued_at + self.rules.commit_seconds if self.reachable else 0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(due - time.monotonic(), self._journal_soon)

    def _journal_soon(self) -> None:
        """Journal what has waited too long, in a task of its own."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._journaling is None:
            self._journaling = asyncio.create_task(self._journal_due())

    async def _journal_due(self) -> None:
        try:
            latest = time.monotonic() - (self.rules.commit_seconds if self.reachable else 0)
            due = []
            while self._awaiting and (
                self._awaiting[0].done is None or self._awaiting[0].queued_at <= latest
            ):
                entry = self._awaiting.popleft()
                if entry.done is not None:
                    due.append(entry)
            await self._to_journal(due)
        finally:
            self._journaling = None
            if self._awaiting:
                self._wait_for(self._awaiting[0])

    async def _to_journal(self, due: list[Settlement]) -> None:
        now = time.monotonic()
        kept = []
        for entry in due:
            deadline = min(lease.deadline for lease in (entry.lease, entry.budget) if lease)
            if entry.sent or now < deadline:
                kept.append(entry)
            else:  # its lease has expired, so the ledger may have granted its credit to another
                self.book.refuse(entry, CreditUnavailable())
        if not kept:
            return
        for entry in kept:
            entry.answered = True
        self._appending += 1
        try:
            segment = await self._in_thread(
                self._journal.append, [bytes(entry.encoded()) for entry in kept]
            )
        except JournalError as error:
            log.error("journal failed", reason=str(error))
            for entry in kept:
                entry.answered = False
                asyncio.get_running_loop().call_later(
                    self.rules.settle_seconds, self.book.give_up, entry, CreditUnavailable()
                )
            return
        finally:
            self._appending -= 1
        for entry in kept:
            if entry.pending:
                entry.segment = segment
                self._segments[segment] += 1
            entry.finish()
        if not self._segments[segment]:
            self._finished.add(segment)
        await self._delete()

    def _count_off(self, sent: Sent) -> None:
        """Subtract what the ledger has confirmed from the counts of the segments."""
        for entry in sent.entries:
            if entry.segment is not None and not entry.pending:
                segment, entry.segment = entry.segment, None
                self._segments[segment] -= 1
                if not self._segments[segment]:
                    self._finished.add(segment)

    async def _delete(self, *, stuck: bool = False) -> None:
        """Remove finished segments, and on request retry those that are `stuck`.

        One that stays only takes up room: replayed, it isn't charged again. During an append none
        is removed, since it may be the one being written to.
        """
        if stuck:
            self._finished |= {segment for segment, left in self._segments.items() if not left}
        while self._finished and not self._appending:
            segment = self._finished.pop()
            if self._segments[segment]:
                continue  # written to again
            try:
                await self._in_thread(self._journal.forget, segment)
                del self._segments[segment]
            except OSError as error:
                self._segments[segment] = 0  # retried when the next journals are adopted
                log.error("segment not removed", segment=str(segment), reason=str(error))

    async def _adopt(self) -> None:
        while not self._stopping.is_set():
            await self._delete(stuck=True)
            await self._adopter.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.rules.adopt_seconds)

    async def _in_thread(self, call: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long the engine waits, in seconds."""

    commit_seconds: float = 0.05
    """For the ledger to commit a request, before the journal acknowledges it instead."""
    credit_seconds: float = 2.0
    """For credit that this process does not hold, before a request gets 503."""
    settle_seconds: float = 10.0
    """For the ledger when the journal fails too, before an answer becomes 503."""
    retry_seconds: float = 0.05
    """Between attempts to reach the ledger; doubles up to `retry_seconds_max`."""
    retry_seconds_max: float = 1.0
    adopt_seconds: float = 30.0
    """Between scans for the journals of dead processes."""
    close_seconds: float = 10.0
    """At shutdown, for the ledger to take what is left before the journal gets it."""
