"""What requests do with the credit that this process holds: in memory, without I/O.

Invariants: a purse never reserves more than the ledger granted it, and reserves nothing after its
lease's deadline; settled requests stay in the outbox until the ledger has confirmed or refused
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.data_plane.metering.leases import (
    Hold,
    Lease,
    LeaseRules,
    Purse,
    Settlement,
    Undelivered,
    Waiter,
    budget_id,
    period_at,
)
from gateway.data_plane.metering.messages import UsageLine
from gateway.data_plane.metering.misses import Misses
from gateway.data_plane.metering.port import Charge, ChargeUnknown, CreditUnavailable
from gateway.data_plane.metering.waiting_holds import WaitingHolds
from gateway.errors import GatewayError
from gateway.identifiers import made_at_ms

PREFETCH_AGAIN_SECONDS = 1.0
"""The least time between two background requests for more credit."""


class LeaseBook:
    """The reservations, and the usage on its way to the ledger."""

    def __init__(
        self,
        rules: LeaseRules,
        clock: Callable[[], float],
        on_work: Callable[[], None] = lambda: None,
    ) -> None:
        self.rules = rules
        self.clock = clock
        self.on_work = on_work
        """Called when there is something to send to the ledger."""
        self.purses: dict[str, Purse] = {}
        self.held: dict[str, Hold] = {}
        self.kept = WaitingHolds()
        """Those of them that only wait for a retry, and until when."""
        self.outbox: deque[Settlement] = deque()
        self.asking: dict[str, Purse] = {}
        """The purses that need more credit."""
        self.is_closed = False
        """Whether neither the ledger nor the journal accepts anything, so requests are refused."""
        self.undelivered = Misses(rules)
        """Charged requests that reached nobody, to be reported to the ledger."""
        self.unconfirmed = 0
        """How many settled requests the ledger has not confirmed."""
        self.charged_unknown: deque[Settlement] = deque()
        """Charged, though their clients were told that this is unknown: to be credited back."""
        self.free = 0
        """Requests that were not charged because an identical one already was."""
        self.unknown = 0
        """How many clients were told so."""

    def reserve(self, charge: Charge) -> int | None:
        """Reserve from the credit held and return the remaining balance; None if it must `wait`."""
        budget = None
        if charge.budget is not None:
            budget = self.take(self.budget_purse(charge), charge.cost_nanos)
            if budget is None:
                return None
        purse = self.purse(charge.organization_id)
        lease = self.take(purse, charge.cost_nanos)
        if lease is None:
            if budget is not None:
                self.give_back(budget, charge.cost_nanos)
            return None
        self.held[charge.request_id] = Hold(charge, lease, budget)
        return purse.available_nanos + lease.free

    def take(self, purse: Purse, cost_nanos: int) -> Lease | None:
        """Reserve from a purse's lease; None if it must `wait`."""
        lease = purse.lease
        if lease is None or lease.free < cost_nanos or purse.waiters:
            return None
        now = self.clock()
        if now >= lease.deadline:
            return None
        lease.free -= cost_nanos
        lease.reserved += cost_nanos
        purse.used_at = now
        if lease.free < purse.low_water_nanos and now >= purse.prefetch_at:
            purse.prefetch_at = now + PREFETCH_AGAIN_SECONDS
            self.asking[purse.account_id] = purse
            self.on_work()
        return lease

    def hold(self, charge: Charge, lease: Lease, budget: Lease | None) -> int:
        """Record a reservation that had to `wait`; return the balance left."""
        self.held[charge.request_id] = Hold(charge, lease, budget)
        return lease.purse.balance_nanos

    def settle(self, charge: Charge) -> Settlement | None:
        """Charge what was reserved; None if nothing was."""
        hold = self.held.pop(charge.request_id, None)
        if hold is None:
            return None
        cost, lease, budget = charge.cost_nanos, hold.lease, hold.budget
        lease.reserved -= cost
        lease.spent += cost
        lease.unacknowledged += 1
        if budget is not None:
            budget.reserved -= cost
            budget.spent += cost
            budget.unacknowledged += 1
        line = UsageLine(
            request_id=charge.request_id,
            organization_id=charge.organization_id,
            key_id=charge.key_id,
            model_id=charge.model_id,
            price_id=charge.price_id,
            inputs=charge.inputs,
            tokens=charge.tokens,
            cost_nanos=cost,
            lease_id=lease.id,
            budget_id=None if budget is None else budget.purse.account_id,
            budget_lease_id=None if budget is None else budget.id,
            created_ms=made_at_ms(charge.request_id),
            print=charge.print,
            print_seconds=charge.print_seconds,
        )
        entry = Settlement(charge.request_id, cost, line, self.clock(), lease, budget)
        entry.trace = charge.trace
        self.outbox.append(entry)
        self.unconfirmed += 1
        self.on_work()
        return entry

    def release(self, charge: Charge) -> None:
        """Give back what was reserved, if anything is."""
        hold = self.held.pop(charge.request_id, None)
        if hold is not None:
            self.give_back(hold.lease, charge.cost_nanos)
            if hold.budget is not None:
                self.give_back(hold.budget, charge.cost_nanos)

    def keep(self, charge: Charge, seconds: float) -> None:
        """Keep a reservation for a retry: it ends in `resume`, or is given up."""
        if charge.request_id in self.held:
            hold = self.held[charge.request_id]
            self.kept.add(charge.request_id, self.clock() + seconds, hold.account_ids)

    def resume(self, charge: Charge) -> int | None:
        """Take a kept reservation back and return the balance left; None if it is gone."""
        if not self.kept.remove(charge.request_id):
            return None
        hold = self.held[charge.request_id]
        now = self.clock()
        if any(now >= lease.deadline for lease in (hold.lease, hold.budget) if lease):
            self.release(charge)
            return None
        return hold.lease.purse.balance_nanos

    def give_up_kept(self, account_id: str) -> bool:
        """Give up an account's reservations that only wait; return whether there were any."""
        waiting = self.kept.of(account_id)
        self._give_up(waiting)
        return bool(waiting)

    def give_up_overdue(self) -> None:
        """Give up what has waited long enough for its retry."""
        self._give_up(self.kept.overdue(self.clock()))

    def give_up_all_kept(self) -> None:
        """Give up everything that only waits."""
        self._give_up(list(self.kept))

    def _give_up(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self.kept.remove(request_id)
            self.release(self.held[request_id].charge)

    def wait(self, purse: Purse, cost_nanos: int, done: Callable[[], None]) -> Waiter:
        """Queue for more credit than the purse holds, until `done` or `cancel`."""
        waiter = Waiter(purse, cost_nanos, done)
        purse.waiters.append(waiter)
        self.asking[purse.account_id] = purse
        self.on_work()
        return waiter

    def cancel(self, waiter: Waiter) -> None:
        """Remove a waiter; if it has been served, return its reservation."""
        if waiter.lease is not None:
            self.give_back(waiter.lease, waiter.cost_nanos)
        elif waiter in waiter.purse.waiters:
            waiter.purse.waiters.remove(waiter)

    def give_back(self, lease: Lease, cost_nanos: int) -> None:
        """Undo a reservation."""
        lease.reserved -= cost_nanos
        lease.free += cost_nanos
        if lease.purse.waiters:
            self.asking[lease.purse.account_id] = lease.purse
            self.on_work()

    def purse(self, organization_id: str) -> Purse:
        """Return the purse of an organization, empty at first."""
        purse = self.purses.get(organization_id)
        if purse is None:
            purse = Purse(organization_id, organization_id, None, None, self.rules.slice_nanos)
            self.purses[organization_id] = purse
        return purse

    def budget_purse(self, charge: Charge) -> Purse:
        """Return the purse of the key's budget at the time of the request."""
        assert charge.budget is not None
        period = period_at(charge.budget, made_at_ms(charge.request_id))
        account_id = budget_id(charge.key_id, period)
        purse = self.purses.get(account_id)
        if purse is None:
            purse = Purse(
                account_id, charge.organization_id, charge.key_id, period, self.rules.slice_nanos
            )
            self.purses[account_id] = purse
        return purse

    def replay(self, entry: Settlement) -> None:
        """Queue a request from the journal of an earlier process."""
        self.outbox.append(entry)
        self.unconfirmed += 1
        self.on_work()

    def miss(self, charge: Charge, seconds: float) -> None:
        """Note that a charged response reached nobody: an identical request is free for a time."""
        if charge.print is not None:
            until = self.clock() + seconds
            if self.undelivered.add(Undelivered(charge, until)):
                self.on_work()

    def waive(self, entry: Settlement, original_id: str) -> None:
        """Handle that the ledger did not charge it because it had charged an identical request."""
        if entry.pending:
            self.free += 1
            entry.original_id = original_id
            entry.unknown = False
            self._drop_uncharged(entry)
            entry.finish()

    def confirm(self, entry: Settlement) -> None:
        """Handle that the ledger has it."""
        if entry.pending:
            self._drop(entry)
            if entry.unknown:
                self.charged_unknown.append(entry)
            else:
                entry.finish()

    def refuse(self, entry: Settlement, error: GatewayError) -> None:
        """Handle that the ledger has no row for it and never will: its credit is free again."""
        if entry.pending:
            self._drop_uncharged(entry)
            entry.unknown = False
            entry.finish(error)

    def hand_back(self, entry: Settlement, error: GatewayError) -> None:
        """Leave it to the journal that it came from."""
        if entry.pending:
            self._drop(entry)
            entry.finish(error)

    def give_up(self, entry: Settlement) -> None:
        """End the wait of its client: neither the ledger nor the journal has taken it.

        What the ledger may have received may or may not be charged; the ledger is asked again.
        """
        if not entry.pending:
            return
        if entry.sent:
            entry.unknown = True
            self.unknown += 1
            entry.finish(ChargeUnknown(entry.request_id))
        else:
            self.refuse(entry, CreditUnavailable())

    def _drop_uncharged(self, entry: Settlement) -> None:
        for lease in self._drop(entry):
            lease.spent -= entry.cost_nanos
            lease.free += entry.cost_nanos

    def _drop(self, entry: Settlement) -> list[Lease]:
        entry.pending = False
        self.unconfirmed -= 1
        leases = [lease for lease in (entry.lease, entry.budget) if lease is not None]
        for lease in leases:
            lease.unacknowledged -= 1
        return leases
