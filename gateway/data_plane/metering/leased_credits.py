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
from functools import partial
from typing import NoReturn

import msgspec
import structlog

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.journal import Adopter, Journal
from gateway.data_plane.metering.journaling import Journaling
from gateway.data_plane.metering.leases import (
    NEVER,
    Lease,
    LeaseRules,
    Purse,
    Settlement,
    Waiter,
)
from gateway.data_plane.metering.messages import Ledger, LedgerUnavailable
from gateway.data_plane.metering.port import Charge, CreditUnavailable, ReservationExpired
from gateway.data_plane.metering.protocol import LeaseProtocol, Sent
from gateway.data_plane.metering.receipts import ReceiptSigner

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
        receipts: ReceiptSigner | None = None,
    ) -> None:
        self.rules = rules or EngineRules()
        self._ledger = ledger
        self._idle: asyncio.Future[None] | None = None
        """Done to wake the writer; None while it works."""
        self.book = LeaseBook(leases or LeaseRules(), time.monotonic, self._wake)
        self._receipts = ReceiptChain(receipts)
        self._protocol = LeaseProtocol(self.book, self._receipts)
        self._journaling = Journaling(
            journal,
            self.book,
            lambda: self.reachable,
            commit_seconds=self.rules.commit_seconds,
            settle_seconds=self.rules.settle_seconds,
        )
        self._adopter = Adopter(journal, self.book, self._journaling.in_thread)
        self._away_since: float | None = None
        self._asked_at: float | None = None
        """When the tick in flight was sent."""
        self._charged_at = NEVER
        """When the last tick with usage was sent."""
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
        await self._journaling.open()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._adopt())]

    async def close(self) -> None:
        """Hand all usage to the ledger if it answers, to the journal if not."""
        self._protocol.stop()
        self._stopping.set()
        self._wake()
        writer, adopter = self._tasks
        await asyncio.wait([writer], timeout=self.rules.close_seconds)
        for task in (writer, adopter):
            task.cancel()
        await asyncio.gather(writer, adopter, return_exceptions=True)
        await self._journaling.close()

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

    async def settle(self, charge: Charge) -> str | None:
        """See `Credits.settle`."""
        entry = self.book.settle(charge)
        if entry is None:
            raise ReservationExpired
        self._journaling.watch(entry)
        await _until(entry)
        if entry.error is not None:
            _raise(entry)
        return self._receipts.receipt(entry)

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
        served = asyncio.Event()  # rare: a request that waits for credit
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
            _raise(waiter)
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
                self._journaling.look()
                await asyncio.sleep(self._pause_seconds)
                self._pause_seconds = min(self._pause_seconds * 2, self.rules.retry_seconds_max)

    async def _turn(self) -> bool:
        due = self._protocol.due_in()
        if due is None or due > 0:
            await self._sleep(due)
        gathers = self._charged_at + self.rules.gather_seconds - time.monotonic()
        if gathers > 0 and self.book.outbox and not self.book.asking:  # credit is not kept waiting
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
        try:
            answer = await self._ledger.tick(sent.tick)
            self._protocol.applied(sent, answer)
        except Exception as error:  # noqa: BLE001 - after any error the outcome is unknown
            self._protocol.failed(sent)
            self._away(error)
            return False
        finally:
            self._asked_at = None
            self._journaling.count_off(sent.entries)
        if self._away_since is not None:
            log.info("ledger reachable", seconds=round(time.monotonic() - self._away_since, 3))
            self._away_since = None
        self._pause_seconds = self.rules.retry_seconds
        if answer.written_off:
            self.written_off += len(answer.written_off)
            log.error("usage written off", requests=answer.written_off)
        await self._journaling.clean()
        return True

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until there is work. What is settled in this turn of the loop joins it."""
        loop = asyncio.get_running_loop()
        self._idle = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._wake)
        try:
            await self._idle
        finally:
            self._idle = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _away(self, error: Exception) -> None:
        """Record that the ledger did not answer, or sent something invalid."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            ours = not isinstance(error, LedgerUnavailable)
            log.error("ledger unreachable", reason=str(error), exc_info=error if ours else None)

    async def _adopt(self) -> None:
        while not self._stopping.is_set():
            await self._journaling.clean(stuck=True)
            await self._adopter.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.rules.adopt_seconds)


def _raise(refused: Settlement | Waiter) -> NoReturn:
    """Raise the error of what was refused, and forget it there: an error holds its frames."""
    error, refused.error = refused.error, None
    assert error is not None
    try:
        raise error
    finally:
        del error


async def _until(entry: Settlement) -> None:
    """Wait until an entry is durable or refused."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    entry.done = partial(_resolve, waiter)
    await waiter


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # its request was canceled
        waiter.set_result(None)


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long the engine waits, in seconds."""

    commit_seconds: float = 0.05
    """For the ledger to commit a request, before the journal acknowledges it instead."""
    gather_seconds: float = 0.0
    """Between the beginnings of two ticks at least, so that the second has more to charge. A tick
    leaves when the one before is back, and a request that comes alone does not wait, whatever this
    is; what comes faster waits up to this long for the ledger's good."""
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
