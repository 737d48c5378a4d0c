"""The `Credits` port with leases: the book in memory, one writer to the ledger, and the journal.

A settled request is acknowledged once the ledger has committed it. If that takes longer than
`commit_seconds`, or the ledger is unreachable, the journal makes it durable instead and the ledger
gets it later. New credit comes only from the ledger: during an outage requests are served until the
leases are spent or expire, and fail with 503 after that.

The ledger may also refuse a tick. That concerns only one organization: it is found, set apart
(refusals.py) and frozen, and all others continue.

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

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.journaling import Journaling
from gateway.data_plane.metering.leases import (
    Lease,
    LeaseRules,
    Purse,
    Settlement,
    Waiter,
)
from gateway.data_plane.metering.messages import Ledger
from gateway.data_plane.metering.port import (
    AlreadyCharged,
    Charge,
    CreditUnavailable,
    ReservationExpired,
    frozen_error,
)
from gateway.data_plane.metering.protocol import LeaseProtocol
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.data_plane.metering.recovery import Adopter
from gateway.data_plane.metering.writer import LedgerWriter


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
        self.book = LeaseBook(leases or LeaseRules(), time.monotonic)
        self._receipts = ReceiptChain(receipts)
        self._journaling = Journaling(
            journal,
            self.book,
            lambda: self.writer.reachable,
            lambda: self.writer.is_late,
            commit_seconds=self.rules.commit_seconds,
            settle_seconds=self.rules.settle_seconds,
        )
        self._protocol = LeaseProtocol(self.book, self._receipts)
        self.writer = LedgerWriter(
            ledger, self.book, self._protocol, self._journaling, rules=self.rules
        )
        self.book.on_work = self.writer.wake
        self._adopter = Adopter(journal, self.book, ledger, self._journaling.in_thread)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def away_seconds(self) -> float:
        """How long the ledger has not answered; 0 while it does."""
        return self.writer.away_seconds

    @property
    def journal(self) -> Journaling:
        """What the journal has taken, and whether it works."""
        return self._journaling

    async def start(self) -> None:
        """Start the writer, and the replay of dead processes' journals.

        Raises JournalError if the journal's folder can't be used.
        """
        await self._journaling.open()
        self._tasks = [asyncio.create_task(self.writer.run()), asyncio.create_task(self._adopt())]

    async def close(self) -> None:
        """Hand all usage to the ledger if it answers, to the journal if not."""
        self._stopping.set()
        self.writer.stop()
        writer, adopter = self._tasks
        await asyncio.wait([writer], timeout=self.rules.close_seconds)
        for task in (writer, adopter):
            task.cancel()
        await asyncio.gather(writer, adopter, return_exceptions=True)
        await self._journaling.close()

    async def reserve(self, charge: Charge) -> int:
        """See `Credits.reserve`."""
        if self.book.is_closed or self.book.unconfirmed >= self.book.rules.outbox_max:
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
        receipt = self._receipts.receipt(entry)
        if entry.original_id is not None:
            raise AlreadyCharged(entry.original_id, receipt)
        return receipt

    async def release(self, charge: Charge) -> None:
        """See `Credits.release`."""
        self.book.release(charge)

    def keep(self, charge: Charge, seconds: float) -> None:
        """See `Credits.keep`."""
        if self._stopping.is_set():
            self.book.release(charge)
        else:
            self.book.keep(charge, seconds)

    async def resume(self, charge: Charge) -> int:
        """See `Credits.resume`."""
        if self.book.is_closed:  # what is kept stays
            raise CreditUnavailable
        balance = self.book.resume(charge)
        return await self.reserve(charge) if balance is None else balance

    def undelivered(self, charge: Charge, seconds: float) -> None:
        """See `Credits.undelivered`."""
        self.book.miss(charge, seconds)

    async def _hold(self, purse: Purse, cost_nanos: int) -> Lease:
        lease = self.book.take(purse, cost_nanos)
        if lease is None and self._protocol.give_up_kept(purse.account_id):
            lease = self.book.take(purse, cost_nanos)
        if lease is not None:
            return lease
        if purse.organization_id in self._protocol.refusals.apart:
            raise frozen_error("books")
        away = not self.writer.reachable and self.writer.away_seconds > self.rules.credit_seconds
        if away or len(purse.waiters) >= self.book.rules.waiters_max:
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

    async def _adopt(self) -> None:
        while not self._stopping.is_set():
            await self._journaling.clean(stuck=True)
            await self._adopter.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.rules.adopt_seconds)


def _raise(refused: Settlement | Waiter) -> NoReturn:
    """Raise the error of a refused entry, and drop it there: an error holds its frames."""
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
