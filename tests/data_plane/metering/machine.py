"""Several processes on one ledger, driven step by step with a clock of their own.

No loop, no thread of the engine: the book and its talk are called directly, so every interleaving
of their ticks, crashes and pauses can be had again from a seed.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.leases import LeaseRules, Settlement, Waiter
from gateway.data_plane.metering.messages import LedgerRefused, Tick, TickAnswer
from gateway.data_plane.metering.port import Charge, CreditUnavailable, frozen_error
from gateway.data_plane.metering.protocol import LeaseProtocol, Sent
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.storage.database import Database
from testing.ledger import ledger_of

RULES = LeaseRules(
    lease_seconds=60, margin_seconds=10, renew_seconds=20, idle_seconds=15, slice_nanos=40,
    slice_nanos_max=160,
)  # fmt: skip
SIGNER = ReceiptSigner("a secret for tests, long enough to pass")
EPOCH = datetime(2026, 11, 1, tzinfo=UTC)


class World:
    """The clock, the database and the processes."""

    def __init__(self, database: Database, runner: asyncio.Runner) -> None:
        self.database = database
        self.ledger = ledger_of(database)
        self.runner = runner
        self.seconds = 0.0
        self.fates: list[str] = []
        """What becomes of the next ticks while a request waits, until its client leaves."""
        self.refuses = False
        """Whether the ledger refuses each tick that speaks of anybody."""

    def apply(self, tick: Tick) -> TickAnswer | None:
        """Apply a tick; None: it is refused."""
        if self.refuses and (tick.usage or tick.leases or tick.lease_ids):
            return None
        try:
            return self.runner.run(self.ledger.tick(tick, self.now))
        except LedgerRefused as error:
            raise AssertionError("the ledger refuses what is right") from error

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds)

    async def database_now(self, _connection: AsyncConnection) -> datetime:
        return self.now

    def clock(self) -> float:
        return self.seconds


class Replica:
    """One process: its book, and the journal that outlives it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.book = LeaseBook(RULES, world.clock)
        self.receipts = ReceiptChain(SIGNER)
        self.talk = LeaseProtocol(self.book, self.receipts)
        self.journal: list[Settlement] = []
        self.lost: Sent | None = None
        """A tick that was given up and may still arrive."""
        self.under_way: tuple[Sent, TickAnswer | None] | None = None
        """A tick that the ledger has answered or refused, before the answer is here."""
        self.handed_back: list[Settlement] = []
        """What the ledger refused of the journals of the dead."""

    def reserve(self, charge: Charge) -> Exception | None:
        """Reserve as the engine does, ticking while it waits; return the refusal."""
        if self.book.reserve(charge) is not None:
            return None
        if charge.organization_id in self.talk.refusals.apart:
            return frozen_error("books")
        purse = self.book.purse(charge.organization_id)
        if self.talk.give_up_kept(purse.account_id) and self.book.reserve(charge) is not None:
            return None
        waiter = self.book.wait(purse, charge.cost_nanos, lambda: None)
        return self._await(waiter, charge)

    def _await(self, waiter: Waiter, charge: Charge) -> Exception | None:
        for _ in range(100):
            if waiter.lease is not None:
                self.book.hold(charge, waiter.lease, None)
                return None
            if waiter.error is not None:
                return waiter.error
            fate = self.world.fates.pop() if self.world.fates else "good"
            if fate == "client leaves":
                self.book.cancel(waiter)
                return CreditUnavailable("the client has left")
            self.world.seconds += 0.05
            self.tick(arrives=fate != "lost", answered=fate != "answer lost")
            for peer in peers[self.world]:
                if peer is not self:
                    peer.tick(answered=fate == "good")
        raise AssertionError("a request waits for ever")

    def send(self) -> None:
        """Say a tick, and go on serving requests before the answer is here."""
        self.receive()
        if sent := self.talk.compose():
            self.under_way = sent, self.world.apply(sent.tick)

    def receive(self, *, answered: bool = True) -> None:
        """Have the answer of the tick under way, or learn that it is lost."""
        if self.under_way is not None:
            (sent, answer), self.under_way = self.under_way, None
            self._hear(sent, answer, answered=answered)

    def _hear(self, sent: Sent, answer: TickAnswer | None, *, answered: bool) -> None:
        if not answered:
            self.talk.failed(sent)
        elif answer is None:
            self.talk.refused(sent)
        else:
            self.talk.applied(sent, answer)

    def tick(self, *, arrives: bool = True, answered: bool = True) -> None:
        """Say one tick, in parts if it is refused; it may not arrive, and answers may be lost."""
        self.receive()
        if self.handed_back and not self.world.refuses:
            again, self.handed_back = self.handed_back, []
            self.replay(again)
        self._tick(arrives=arrives, answered=answered)
        while answered and self.talk.refusals.are_sought:
            self._tick(arrives=True, answered=True)

    def _tick(self, *, arrives: bool, answered: bool) -> None:
        sent = self.talk.compose()
        if sent is None:
            return
        if not arrives:
            self.lost = sent
            self.talk.failed(sent)
            return
        self._hear(sent, self.world.apply(sent.tick), answered=answered)

    def deliver_late(self) -> None:
        """Let a tick arrive that was given up."""
        if self.lost is not None:
            sent, self.lost = self.lost, None
            self.world.apply(sent.tick)

    def credit_back(self) -> dict[str, int]:
        """Credit back what was charged and told to be unknown; return how much, by request."""
        credited = {}
        while self.book.charged_unknown:
            entry = self.book.charged_unknown.popleft()
            for _ in range(2):  # the answer to the first is lost
                nanos = self.world.runner.run(self.world.ledger.credit_back(entry.line))
            entry.unknown = False
            credited[entry.request_id] = nanos
        return credited

    def settle(self, charge: Charge, *, journal: bool) -> Settlement:
        """Settle; with `journal`, the ledger is too slow and the journal acknowledges."""
        entry = self.book.settle(charge)
        assert entry is not None
        if journal:
            entry.answered = True
            self.journal.append(entry)
        return entry

    def replay(self, entries: list[Settlement]) -> None:
        """Replay the journal of a dead process, some of it perhaps for the second time."""
        for old in entries:
            entry = Settlement(old.request_id, old.cost_nanos, old.line)
            entry.answered = True
            entry.done = partial(self._is_handed_back, entry)
            self.book.replay(entry)

    def _is_handed_back(self, entry: Settlement) -> None:
        if entry.error is not None:
            self.handed_back.append(entry)


peers: dict[World, list[Replica]] = {}
