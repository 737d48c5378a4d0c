"""The lease protocol without I/O: it composes ticks for the ledger and applies the answers.

Its driver sends one tick at a time. Invariants: a lease with requests in progress or unconfirmed
usage is never closed; what a tick returns is no longer usable when it is sent; a tick whose answer
was lost is followed by one that is correct whether or not the first was applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.leases import NEVER, Lease, Purse, Settlement, Undelivered
from gateway.data_plane.metering.lines import LeaseLines
from gateway.data_plane.metering.messages import LeaseAnswer, Tick, TickAnswer, UndeliveredLine
from gateway.data_plane.metering.port import ReservationExpired, frozen_error
from gateway.data_plane.metering.refusals import Part, Refusals
from gateway.data_plane.metering.stages import LeaseStages
from gateway.identifiers import new_id

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Trace

_SWEEP_SECONDS = 1.0
_STOP_SECONDS = 0.02
_SHARDS = 16


class LeaseProtocol:
    """Sends the state of one process's book, and applies what the ledger answers."""

    def __init__(self, book: LeaseBook, receipts: ReceiptChain) -> None:
        self._book = book
        self._receipts = receipts
        self._replica_id = new_id()
        self._shard = int(self._replica_id[-4:], 16) % _SHARDS
        self._number = 0
        self.refusals = Refusals(book)
        self._stages = LeaseStages(book, self.refusals.apart)
        self._lines = LeaseLines(book, self._stages)
        self._stopping = False
        self._is_unheard = False
        self._sweep_at = book.clock()
        self._beat_at = book.clock()

    def due_in(self) -> float | None:
        """Return the seconds until there is something to send; None if nothing is foreseeable."""
        now = self._book.clock()
        book = self._book
        if book.outbox or book.undelivered or self._stages.is_due or self.refusals.are_sought:
            return 0.0
        times = [
            purse.ask_again_at if purse.waiters else now for purse in self._book.asking.values()
        ]
        if self._book.purses or self._book.kept:
            times += [self._beat_at, self._sweep_at]
        if self._is_unheard:  # or it would go unnoticed that the ledger is back
            times.append(self._beat_at)
        again_at = self.refusals.due_at()
        if again_at is not None:
            times.append(again_at)
        return max(0.0, min(times) - now) if times else None

    def compose(self) -> Sent | None:
        """Make the next tick; None if there is nothing to send."""
        now = self._book.clock()
        if now >= self._sweep_at:
            self._sweep_at = now + (_STOP_SECONDS if self._stopping else _SWEEP_SECONDS)
            self._stages.sweep(now, stopping=self._stopping)
        rules = self._book.rules
        part = self.refusals.next_part(now, rules.usage_per_tick_max)
        if part is None:
            entries = self._usage()
        else:
            entries = [entry for entry in part.entries if entry.pending]
            self._stages.try_again(part.organizations & self.refusals.apart.keys())
        leases: dict[str, Lease] = {}
        lines = self._lines.compose(now, leases, part, stopping=self._stopping)
        undelivered: list[Undelivered] = []
        if part is None:
            undelivered = self._undelivered()
            for lease_id in list(self._stages.renewing)[: rules.leases_per_tick_max]:
                leases[lease_id] = self._stages.renewing.pop(lease_id)
            if not (entries or lines or leases or undelivered or now >= self._beat_at):
                return None
        self._beat_at = now + rules.heartbeat_seconds
        inherited: set[str] = set()
        traces: list[Trace] = []
        for entry in entries:
            entry.sent = True
            if entry.trace is not None:
                traces.append(entry.trace)
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
            claims=any(entry.line.print_seconds for entry in entries),
            undelivered=[_line(one, now) for one in undelivered],
        )
        return Sent(tick, entries, leases, now, part, undelivered, traces)

    def _usage(self) -> list[Settlement]:
        """Take from the outbox what a tick has room for."""
        entries: list[Settlement] = []
        outbox, refusals = self._book.outbox, self.refusals
        while outbox and len(entries) < self._book.rules.usage_per_tick_max:
            entry = outbox.popleft()
            if entry.pending and not (refusals.apart and refusals.keep(entry)):
                entries.append(entry)
        return entries

    def _undelivered(self) -> list[Undelivered]:
        """Take as many of the responses that reached nobody as there is room for."""
        book = self._book
        return book.undelivered.take(book.rules.usage_per_tick_max) if book.undelivered else []

    def _keep_undelivered(self, sent: Sent) -> None:
        """Send it again: however often it is sent, only one identical request is free."""
        now = self._book.clock()
        for one in sent.undelivered:
            if now < one.until:
                self._book.undelivered.put_back(one)

    def failed(self, sent: Sent) -> None:
        """Handle a tick whose outcome is unknown: everything in it will be sent again.

        Its usage can no longer be refused, since the tick may arrive after the refusal. At worst it
        is written off, and its row keeps the late tick from charging.
        """
        self._is_unheard = True
        self._keep_undelivered(sent)
        for entry in sent.entries:
            entry.uncertain = True
        if sent.part is None:
            self._book.outbox.extendleft(reversed([e for e in sent.entries if e.pending]))
        else:
            self.refusals.unheard(sent.part)
            for organization_id in sent.part.organizations & self.refusals.apart.keys():
                self._stages.set_apart(organization_id)
        for lease in sent.leases.values():
            if lease.purse.waiters:
                self._book.asking[lease.purse.account_id] = lease.purse

    def refused(self, sent: Sent) -> str | None:
        """Handle a tick that the ledger refused: nothing in it was applied.

        Returns the organization whose books can't take it, when that has become clear: it is set
        apart. Raises EveryTickRefused if the ledger refuses even a tick without organizations; then
        everything is sent again as after `failed`.
        """
        now = self._book.clock()
        self._keep_undelivered(sent)
        for entry in sent.entries:
            entry.sent = entry.uncertain
        organizations = {entry.line.organization_id for entry in sent.entries}
        organizations |= {lease.purse.organization_id for lease in sent.leases.values()}
        if not organizations:
            self._is_unheard = True
            self._book.outbox.extendleft(reversed(self.refusals.give_up()))
            raise EveryTickRefused
        for line in sent.tick.leases:
            self._lines.say_again(line, sent.leases[line.id], now)
        found = self.refusals.refused(sent.part, organizations, sent.entries, now)
        for organization_id in organizations & self.refusals.apart.keys():
            self._set_apart(organization_id)
        return found

    def _set_apart(self, organization_id: str) -> None:
        self._stages.set_apart(organization_id)
        for purse in list(self._book.purses.values()):
            if purse.organization_id == organization_id:
                self._book.asking.pop(purse.account_id, None)
                while purse.waiters:
                    purse.waiters.popleft().refuse(frozen_error("books"))

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
                self._stages.forget(sent.leases[lease_id])
        refused = set(answer.refused)
        again = []
        for entry in sent.entries:
            if entry.request_id in answer.free:
                self._book.waive(entry, answer.free[entry.request_id])
            elif entry.request_id not in refused:
                self._book.confirm(entry)
            elif entry.answered:  # journaled in the meantime: it can only be written off
                again.append(entry)
            else:
                self._book.refuse(entry, ReservationExpired())
        self._apply_answers(sent, answer, now)
        self._book.outbox.extend(again)
        if sent.part is not None:
            self.refusals.applied(sent.part, now)

    def stop(self) -> None:
        """Give back what is not in use; `compose` continues with the rest until `done`."""
        self._stopping = True
        self._sweep_at = NEVER
        self._book.give_up_all_kept()

    def give_up_kept(self, account_id: str) -> bool:
        """Give up the reservations of an account that only wait; return whether there were any."""
        return self._stages.give_up_kept(account_id)

    @property
    def done(self) -> bool:
        """Whether no lease is held and no usage unconfirmed but of those who are set apart."""
        holding = any(purse.lease for purse in self._book.purses.values())
        kept = sum(1 for _ in self.refusals.kept())
        return self._stages.done and not (holding or self._book.unconfirmed - kept)

    def _apply_answers(self, sent: Sent, answer: TickAnswer, now: float) -> None:
        wrong = None
        for told in answer.leases:
            lease = sent.leases.get(told.id)
            if lease is None:
                continue
            try:
                self._apply_answer(lease, told, now)
            except AssertionError as error:
                if lease.id not in self._stages.draining:
                    wrong = error
                    self._stages.drain(lease)
        for account_id in answer.recalled:
            self._stages.recall(account_id, now)
        if wrong:
            raise wrong

    def _apply_answer(self, lease: Lease, told: LeaseAnswer, now: float) -> None:
        purse = lease.purse
        purse.available_nanos = told.available_nanos
        if told.state == "open" and lease.id not in self._stages.closing:
            lease.open = True
            lease.adopt(told.granted_nanos)
            if not told.denied and told.available_nanos > 0:
                purse.prefetch_at = min(purse.prefetch_at, now)
        elif told.state != "open":
            self._stages.forget(lease)
        if purse.lease is not None and purse.lease is not lease:
            return
        if not purse.waiters or purse.serve(now):
            return
        if told.denied:
            self._deny(purse, told, now)
        if purse.waiters:
            self._book.asking[purse.account_id] = purse

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


class EveryTickRefused(Exception):
    """The ledger refuses even a tick that names no organization."""


class Sent(NamedTuple):
    """A tick in flight, and what it was made of."""

    tick: Tick
    entries: list[Settlement]
    leases: dict[str, Lease]
    sent_at: float
    part: Part | None = None
    """Whose it is, if not everybody's."""
    undelivered: Sequence[Undelivered] = ()
    traces: Sequence[Trace] = ()
    """Those of the sampled requests among the entries."""


def _line(one: Undelivered, now: float) -> UndeliveredLine:
    assert one.charge.print is not None
    return UndeliveredLine(
        key_id=one.charge.key_id,
        print=one.charge.print,
        request_id=one.charge.request_id,
        seconds=one.until - now,
    )
