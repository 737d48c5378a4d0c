"""The port `Credits` by leases: the book in memory, one writer to the ledger, and the journal.

A settled request is acknowledged when the ledger has committed it. When that takes longer than
`commit_seconds`, or the ledger is away, the journal makes it durable instead, and the ledger gets
it later. New credit always comes from the ledger: while it is away, requests go on until the leases
that are held are spent or their deadlines have passed, and fail with 503 after that.
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

from gateway.data_plane.metering import denials
from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.correspondence import Correspondence, Sent
from gateway.data_plane.metering.credits import Charge
from gateway.data_plane.metering.journal import Abandoned, Journal, JournalError
from gateway.data_plane.metering.leases import Entry, Lease, LeaseRules, Purse
from gateway.data_plane.metering.ticks import Ledger, LedgerUnavailable, UsageLine

_T = TypeVar("_T")
log = structlog.get_logger()


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long the engine waits for whom, in seconds."""

    commit_seconds: float = 0.05
    """For the ledger, before the journal acknowledges instead."""
    credit_seconds: float = 2.0
    """Of a request, for credit that this process does not hold, before 503."""
    settle_seconds: float = 10.0
    """Of an answer, for the ledger, when the journal fails too, before 503."""
    retry_seconds: float = 0.05
    """Between two attempts to reach a ledger that is away; doubles up to `retry_seconds_max`."""
    retry_seconds_max: float = 1.0
    adopt_seconds: float = 30.0
    """Between two looks for journals whose processes have died."""
    close_seconds: float = 10.0
    """At the end, for the ledger to take what is left before the journal gets it."""


class LeasedCredits:
    """Credit by leases. `start` it on the loop that uses it, `close` it at the end."""

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
        self._talk = Correspondence(self.book)
        self._awaiting: deque[Entry] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._journaling: asyncio.Task[None] | None = None
        self._segments: Counter[Path] = Counter()
        self._away_since: float | None = None
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.written_off = 0
        """Answers that were out when their lease and their credit were gone."""

    @property
    def reachable(self) -> bool:
        """Whether the ledger answered last time."""
        return self._away_since is None

    async def start(self) -> None:
        """Begin to talk to the ledger, and to replay what dead processes left behind.

        Raises JournalError when the journal's folder can't be used.
        """
        await self._in_thread(self._journal.open)
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._adopt())]

    async def close(self) -> None:
        """Hand everything over: to the ledger if it answers, to the journal if not."""
        self._talk.stop()
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
        await self._in_thread(self._journal.close)
        self._thread.shutdown()

    async def reserve(self, charge: Charge) -> int:
        """Set the cost aside; see `Credits.reserve`."""
        if self.book.unconfirmed >= self.book.rules.outbox_max:
            raise denials.unavailable()
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
        """Charge what was reserved; see `Credits.settle`."""
        entry = self.book.settle(charge)
        if entry is None:
            raise denials.expired()
        finished = asyncio.Event()
        entry.done = finished.set
        self._awaiting.append(entry)
        if self._timer is None:
            self._wait_for(entry)
        await finished.wait()
        if entry.error is not None:
            raise entry.error

    async def release(self, charge: Charge) -> None:
        """Give back what was reserved; see `Credits.release`."""
        self.book.release(charge)

    async def _hold(self, purse: Purse, cost_nanos: int) -> Lease:
        lease = self.book.take(purse, cost_nanos)
        if lease is not None:
            return lease
        away = self._away_since is not None and time.monotonic() - self._away_since
        if len(purse.waiters) >= self.book.rules.waiters_max or away > self.rules.credit_seconds:
            raise denials.unavailable()
        served = asyncio.Event()
        waiter = self.book.wait(purse, cost_nanos, served.set)
        try:
            async with asyncio.timeout(self.rules.credit_seconds):
                await served.wait()
        except TimeoutError:
            self.book.cancel(waiter)
            raise denials.unavailable() from None
        except asyncio.CancelledError:
            self.book.cancel(waiter)
            raise
        if waiter.error is not None:
            raise waiter.error
        assert waiter.lease is not None
        return waiter.lease

    # The ledger's side

    async def _write(self) -> None:
        pause = self.rules.retry_seconds
        while not (self._stopping.is_set() and self._talk.done):
            self._work.clear()
            due = self._talk.due_in()
            if due is None or due > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), due)
            sent = self._talk.compose()
            if sent is None:
                await asyncio.sleep(0)
                continue
            if await self._tick(sent):
                pause = self.rules.retry_seconds
            else:
                self._journal_soon()
                await asyncio.sleep(pause)
                pause = min(pause * 2, self.rules.retry_seconds_max)

    async def _tick(self, sent: Sent) -> bool:
        try:
            answer = await self._ledger.tick(sent.tick)
        except LedgerUnavailable as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
                log.error("the ledger is away", reason=str(error))
            self._talk.failed(sent)
            return False
        if self._away_since is not None:
            log.info("the ledger is back", seconds=round(time.monotonic() - self._away_since, 3))
            self._away_since = None
        if answer.written_off:
            self.written_off += len(answer.written_off)
            log.error("answers written off", requests=answer.written_off)
        self._talk.applied(sent, answer)
        emptied = []
        for entry in sent.entries:
            if entry.segment is not None and not entry.pending:
                self._segments[entry.segment] -= 1
                if not self._segments[entry.segment]:
                    emptied.append(entry.segment)
        for segment in emptied:
            if not self._segments[segment]:
                del self._segments[segment]
                await self._in_thread(self._journal.forget, segment)
        return True

    # The journal's side

    def _wait_for(self, entry: Entry) -> None:
        due = entry.queued_at + self.rules.commit_seconds if self.reachable else 0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(due - time.monotonic(), self._journal_soon)

    def _journal_soon(self) -> None:
        """Give the journal what waits too long; again when the next one does."""
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

    async def _to_journal(self, due: list[Entry]) -> None:
        now = time.monotonic()
        kept = []
        for entry in due:
            deadline = min(lease.deadline for lease in (entry.lease, entry.budget) if lease)
            if entry.sent or now < deadline:
                kept.append(entry)
            else:  # the ledger may have given its credit to another, and has not heard of it
                self.book.refuse(entry, denials.unavailable())
        if not kept:
            return
        for entry in kept:
            entry.answered = True
        try:
            segment = await self._in_thread(
                self._journal.append, [bytes(entry.encoded()) for entry in kept]
            )
        except JournalError as error:
            log.error("the journal fails", reason=str(error))
            for entry in kept:
                entry.answered = False
                asyncio.get_running_loop().call_later(
                    self.rules.settle_seconds, self.book.give_up, entry, denials.unavailable()
                )
            return
        self._segments[segment] += 1  # hold it while its entries are counted
        for entry in kept:
            if entry.pending:
                entry.segment = segment
                self._segments[segment] += 1
            entry.finish()
        self._segments[segment] -= 1
        if not self._segments[segment]:
            del self._segments[segment]
            await self._in_thread(self._journal.forget, segment)

    async def _adopt(self) -> None:
        """Replay the journals of the dead, one segment at a time."""
        while True:
            found = await self._in_thread(self._journal.abandoned)
            try:
                for abandoned in found:
                    for segment in await self._in_thread(abandoned.segments):
                        await self._replay(abandoned, segment)
                    await self._in_thread(abandoned.forget)
            finally:
                for abandoned in found:
                    abandoned.leave()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.rules.adopt_seconds)
                return

    async def _replay(self, abandoned: Abandoned, segment: Path) -> None:
        records = await self._in_thread(lambda: list(abandoned.read(segment)))
        confirmed = asyncio.Event()
        left = len(records)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if not left:
                confirmed.set()

        for record in records:
            line = msgspec.json.decode(record, type=UsageLine)
            entry = Entry(line.request_id, line.cost_nanos, line)
            entry.answered = True
            entry.done = one_less
            self.book.replay(entry)
        if records:
            await confirmed.wait()
        log.info("journal replayed", segment=str(segment), requests=len(records))

    async def _in_thread(self, call: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
