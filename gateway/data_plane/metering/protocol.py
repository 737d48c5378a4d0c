"""The lease protocol without I/O: it composes ticks for the ledger and applies the answers.

Its driver sends one tick at a time. Invariants: a lease with requests in progress or unconfirmed
usage is never closed; what a tick gives back is out of use before it is sent; a tick whose answer
was lost is followed by one that is correct whether or not the first was applied.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.leases import NEVER, Lease, Purse, Settlement
from gateway.data_plane.metering.messages import LeaseAnswer, LeaseLine, Tick, TickAnswer
from gateway.data_plane.metering.port import ReservationExpired
from gateway.identifiers import new_id

_DOUBLE_WITHIN_SECONDS = 1.0
_HALVE_AFTER_SECONDS = 10.0
_SWEEP_SECONDS = 1.0
_STOP_SECONDS = 0.02
_RECALL_LASTS_SECONDS = 1.0
_KEEP_AGAIN_SECONDS = 0.05
_SHARDS = 16


class LeaseProtocol:
    """Sends the state of one process's book, and applies what the ledger answers."""

    def __init__(self, book: LeaseBook, receipts: ReceiptChain) -> None:
        self._book = book
        self._receipts = receipts
        self._replica_id = new_id()
        self._shard = int(self._replica_id[-4:], 16) % _SHARDS
        self._number = 0
        self._keeping: dict[str, Lease] = {}
        self._closing: dict[str, Lease] = {}
        self._draining: dict[str, Lease] = {}
        self._renewing: dict[str, Lease] = {}
        self._stopping = False
        self._is_unheard = False
        self._sweep_at = book.clock()
        self._beat_at = book.clock()

    def due_in(self) -> float | None:
        """Return the seconds until there is something to send; None if nothing is foreseeable."""
        now = self._book.clock()
        if self._book.outbox or self._keeping or self._closing or self._renewing:
            return 0.0
        times = [
            purse.ask_again_at if purse.waiters else now for purse in self._book.asking.values()
        ]
        if self._book.purses:
            times += [self._beat_at, self._sweep_at]
        if self._is_unheard:  # or it would go unnoticed that the ledger is back
            times.append(self._beat_at)
        return max(0.0, min(times) - now) if times else None

    def compose(self) -> Sent | None:
        """Make the next tick; None if there is nothing to send."""
        now = self._book.clock()
        if now >= self._sweep_at:
            self._sweep(now)
        rules = self._book.rules
        entries: list[Settlement] = []
        while self._book.outbox and len(entries) < rules.usage_per_tick_max:
            entry = self._book.outbox.popleft()
            if entry.pending:
                entries.append(entry)
        leases: dict[str, Lease] = {}
        lines = self._lines(now, leases)
        for lease_id in list(self._renewing)[: rules.leases_per_tick_max]:
            leases[lease_id] = self._renewing.pop(lease_id)
        if not (entries or lines or leases or now >= self._beat_at):
            return None
        self._beat_at = now + rules.heartbeat_seconds
        inherited: set[str] = set()
        for entry in entries:
            entry.sent = True
            if entry.lease is None:
                inherited |= {
                    entry.line.lease_id,
                    entry.line.budget_lease_id or entry.line.lease_id,
                }
                continue
            leases[entry.lease.id] = entry.lease
            if entry.budget is not None:
                leases[entry.budget.id] = entry.budget
        self._number += 1
        tick = Tick(
            replica_id=self._replica_id,
            number=self._number,
            lease_seconds=rules.lease_seconds,
            shard=self._shard,
            lease_ids=[*leases, *inherited],
            usage=[entry.encoded() for entry in entries],
            answered=[entry.request_id for entry in entries if entry.answered or entry.uncertain],
            leases=lines,
            root=self._receipts.root_of(entries),
        )
        return Sent(tick, entries, leases, now)

    def _lines(self, now: float, leases: dict[str, Lease]) -> list[LeaseLine]:
        lines: list[LeaseLine] = []
        for purse in list(self._book.asking.values()):
            if len(lines) >= self._book.rules.leases_per_tick_max:
                break
            enough = self._serve(purse, now) if purse.waiters else self._stopping
            if enough:
                del self._book.asking[purse.account_id]
            elif not purse.waiters or now >= purse.ask_again_at:
                del self._book.asking[purse.account_id]
                lines.append(self._ask(purse, now, leases))
        for lease in list(self._keeping.values())[: self._book.rules.leases_per_tick_max]:
            del self._keeping[lease.id]
            if lease.open and lease.id not in leases:
                lines.append(self._keep(lease, now))
                leases[lease.id] = lease
        for lease in list(self._closing.values())[: self._book.rules.leases_per_tick_max]:
            leases[lease.id] = lease
            lines.append(LeaseLine(id=lease.id, account_id=lease.purse.account_id, action="close"))
        return lines

    def _ask(self, purse: Purse, now: float, leases: dict[str, Lease]) -> LeaseLine:
        lease = purse.lease
        if lease is not None and lease.open and now >= lease.deadline:
            self._drain(lease)
            lease = None
        if lease is None:
            lease = purse.lease = Lease(new_id(), purse)
        if now - purse.asked_at < _DOUBLE_WITHIN_SECONDS:
            purse.slice_nanos = min(purse.slice_nanos * 2, self._book.rules.slice_nanos_max)
        elif now - purse.asked_at > _HALVE_AFTER_SECONDS:
            purse.slice_nanos = max(purse.slice_nanos // 2, self._book.rules.slice_nanos)
        purse.asked_at = now
        purse.ask_again_at = now + self._book.rules.retry_seconds
        purse.low_water_nanos = purse.slice_nanos // 3
        in_use = lease.spent + lease.reserved
        least = 0
        wanted = sum(waiter.cost_nanos for waiter in purse.waiters)
        if purse.waiters:
            least = in_use + purse.waiters[0].cost_nanos
            lease.free = 0  # a denial takes it back, so it is unusable until the answer
        leases[lease.id] = lease
        return LeaseLine(
            id=lease.id,
            account_id=purse.account_id,
            action="ask",
            keep_nanos=in_use,
            least_nanos=least,
            target_nanos=in_use + lease.free + wanted + purse.slice_nanos,
            waited_seconds=_waited(purse, now),
            key_id=purse.key_id,
            period=purse.period,
        )

    def _keep(self, lease: Lease, now: float) -> LeaseLine:
        lease.free = 0
        lease.purse.kept_at = now
        return LeaseLine(
            id=lease.id,
            account_id=lease.purse.account_id,
            action="keep",
            keep_nanos=lease.spent + lease.reserved,
        )

    def failed(self, sent: Sent) -> None:
        """Handle a tick whose outcome is unknown: everything in it will be sent again.

        Its usage can no longer be refused, since the tick may arrive after the refusal. At worst it
        is written off, and its row keeps the late tick from charging.
        """
        self._is_unheard = True
        for entry in sent.entries:
            entry.uncertain = True
        self._book.outbox.extendleft(reversed([e for e in sent.entries if e.pending]))
        for lease in sent.leases.values():
            if lease.purse.waiters:
                self._book.asking[lease.purse.account_id] = lease.purse

    def applied(self, sent: Sent, answer: TickAnswer) -> None:
        """Apply the ledger's answer.

        Raises AssertionError for an answer that can't be true: its lease is no longer used, the
        rest has been applied. The caller must then report the tick as `failed`.
        """
        now = self._book.clock()
        self._is_unheard = False
        self._receipts.heard()
        deadline = sent.sent_at + self._book.rules.lease_seconds - self._book.rules.margin_seconds
        for lease in sent.leases.values():
            lease.deadline = deadline
        for lease_id in answer.closed:
            if lease_id in sent.leases:
                self._forget(sent.leases[lease_id])
        refused = set(answer.refused)
        again = []
        for entry in sent.entries:
            if entry.request_id not in refused:
                self._book.confirm(entry)
            elif entry.answered:  # journaled in the meantime: it can only be written off
                again.append(entry)
            else:
                self._book.refuse(entry, ReservationExpired())
        self._apply_answers(sent, answer, now)
        self._book.outbox.extend(again)

    def stop(self) -> None:
        """Give back what is not in use; `compose` continues with the rest until `done`."""
        self._stopping = True
        self._sweep_at = NEVER

    @property
    def done(self) -> bool:
        """Whether no lease is held and no usage is unconfirmed."""
        holding = any(purse.lease for purse in self._book.purses.values())
        return not (holding or self._draining or self._closing or self._book.unconfirmed)

    def _apply_answers(self, sent: Sent, answer: TickAnswer, now: float) -> None:
        wrong = None
        for told in answer.leases:
            lease = sent.leases.get(told.id)
            if lease is None:
                continue
            try:
                self._apply_answer(lease, told, now)
            except AssertionError as error:
                if lease.id not in self._draining:
                    wrong = error
                    self._drain(lease)
        for account_id in answer.recalled:
            self._recall(account_id, now)
        if wrong:
            raise wrong

    def _apply_answer(self, lease: Lease, told: LeaseAnswer, now: float) -> None:
        purse = lease.purse
        purse.available_nanos = told.available_nanos
        if told.state == "open" and lease.id not in self._closing:
            lease.open = True
            lease.adopt(told.granted_nanos)
            if not told.denied and told.available_nanos > 0:
                purse.prefetch_at = min(purse.prefetch_at, now)
        elif told.state != "open":
            self._forget(lease)
        if purse.lease is not None and purse.lease is not lease:
            return
        if not purse.waiters or self._serve(purse, now):
            return
        if told.denied:
            self._deny(purse, told, now)
        if purse.waiters:
            self._book.asking[purse.account_id] = purse

    def _serve(self, purse: Purse, now: float) -> bool:
        """Serve the waiters in order; return whether all were served."""
        lease = purse.lease
        if lease is not None and lease.open and now < lease.deadline:
            while purse.waiters and purse.waiters[0].cost_nanos <= lease.free:
                purse.waiters.popleft().serve(lease)
                purse.used_at = now
        return not purse.waiters

    def _deny(self, purse: Purse, told: LeaseAnswer, now: float) -> None:
        first = purse.waiters[0]
        if first.denied_at is None:
            for waiter in purse.waiters:
                waiter.denied_at = now
        assert first.denied_at is not None
        # processes that answered the recall gave what they could; only the others can still help
        recallable = told.available_nanos + told.unreached_nanos >= first.cost_nanos
        if (
            recallable
            and told.frozen in (None, "owing")  # of these, a debt is paid by what others return
            and now - first.denied_at < self._book.rules.recall_seconds
        ):
            return
        # what holds for the first holds for those that have waited as long for at least as much
        alike = [
            w for w in purse.waiters if w.denied_at is not None and w.cost_nanos >= first.cost_nanos
        ]
        for waiter in alike:
            purse.waiters.remove(waiter)
            waiter.refuse(purse.denial(waiter.cost_nanos, told))

    def _recall(self, account_id: str, now: float) -> None:
        purse = self._book.purses.get(account_id)
        if purse is None:
            return
        purse.prefetch_at = now + _RECALL_LASTS_SECONDS
        again = now - purse.kept_at > _KEEP_AGAIN_SECONDS
        for lease in (purse.lease, *self._draining.values()):
            if lease is not None and lease.purse is purse and (lease.free > 0 or again):
                self._keeping[lease.id] = lease

    def _drain(self, lease: Lease) -> None:
        if lease.purse.lease is lease:
            lease.purse.lease = None
        self._draining[lease.id] = lease
        if not lease.idle:
            self._keeping[lease.id] = lease

    def _forget(self, lease: Lease) -> None:
        """Drop a lease that the ledger closed; requests in progress on it settle if they can."""
        lease.deadline = NEVER
        if lease.purse.lease is lease:
            lease.purse.lease = None
        for group in (self._closing, self._draining, self._renewing, self._keeping):
            group.pop(lease.id, None)

    def _sweep(self, now: float) -> None:
        """Find the leases to renew, to give back and to close."""
        rules = self._book.rules
        self._sweep_at = now + (_STOP_SECONDS if self._stopping else _SWEEP_SECONDS)
        for purse in list(self._book.purses.values()):
            lease = purse.lease
            busy = purse.waiters or purse.account_id in self._book.asking
            unused = now - max(purse.used_at, purse.asked_at) > rules.idle_seconds
            idle = not busy and (unused or self._stopping)
            if lease is None:
                if idle:
                    del self._book.purses[purse.account_id]
            elif idle or (lease.open and now >= lease.deadline):
                self._drain(lease)
            elif lease.open and lease.deadline - now < rules.renew_seconds:
                self._renewing[lease.id] = lease
        for lease in list(self._draining.values()):
            if lease.idle:
                self._closing[lease.id] = self._draining.pop(lease.id)
            elif lease.deadline - now < rules.renew_seconds:
                self._renewing[lease.id] = lease


class Sent(NamedTuple):
    """A tick in flight, and what it was made of."""

    tick: Tick
    entries: list[Settlement]
    leases: dict[str, Lease]
    sent_at: float


def _waited(purse: Purse, now: float) -> float:
    if not purse.waiters or purse.waiters[0].denied_at is None:
        return 0
    return now - purse.waiters[0].denied_at
