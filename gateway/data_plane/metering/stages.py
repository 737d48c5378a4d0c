"""The stages of a lease after its use: returned in part, renewed, drained, closed.

A lease with requests in progress or unconfirmed usage is never closed. The leases of organizations
that are set apart stay drained: only their own ticks mention them.
"""

from __future__ import annotations

from collections.abc import Container

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.leases import NEVER, Lease

_RECALL_LASTS_SECONDS = 1.0
_KEEP_AGAIN_SECONDS = 0.05


class LeaseStages:
    """The leases of one process that the next ticks will mention."""

    def __init__(self, book: LeaseBook, apart: Container[str]) -> None:
        self._book = book
        self._apart = apart
        self.keeping: dict[str, Lease] = {}
        """To return what is not in use."""
        self.renewing: dict[str, Lease] = {}
        self.draining: dict[str, Lease] = {}
        """No longer in use, except for what was begun on them."""
        self.closing: dict[str, Lease] = {}

    @property
    def is_due(self) -> bool:
        """Whether there is something to send."""
        return bool(self.keeping or self.closing or self.renewing)

    @property
    def done(self) -> bool:
        """Whether nothing is left to drain and to close."""
        return not self.closing and all(
            lease.purse.organization_id in self._apart for lease in self.draining.values()
        )

    def recall(self, account_id: str, now: float) -> None:
        """Return what an account's leases don't use: another process needs it, or it is frozen."""
        self.give_up_kept(account_id)
        purse = self._book.purses.get(account_id)
        if purse is None or purse.organization_id in self._apart:
            return
        purse.prefetch_at = now + _RECALL_LASTS_SECONDS
        again = now - purse.kept_at > _KEEP_AGAIN_SECONDS
        for lease in (purse.lease, *self.draining.values()):
            if lease is not None and lease.purse is purse and (lease.free > 0 or again):
                self.keeping[lease.id] = lease

    def give_up_kept(self, account_id: str) -> bool:
        """Give up the reservations of an account that only wait; return whether there were any.

        Their share of a lease that is no longer used is returned with the next tick.
        """
        if not self._book.give_up_kept(account_id):
            return False
        for lease in self.draining.values():
            purse = lease.purse
            if purse.account_id == account_id and purse.organization_id not in self._apart:
                self.keeping[lease.id] = lease
        return True

    def drain(self, lease: Lease) -> None:
        """Reserve nothing more from a lease; close it once nothing depends on it."""
        if lease.purse.lease is lease:
            lease.purse.lease = None
        self.draining[lease.id] = lease
        if not lease.idle:
            self.keeping[lease.id] = lease

    def forget(self, lease: Lease) -> None:
        """Drop a lease that the ledger closed; requests in progress on it settle if they can."""
        lease.deadline = NEVER
        if lease.purse.lease is lease:
            lease.purse.lease = None
        for group in (self.closing, self.draining, self.renewing, self.keeping):
            group.pop(lease.id, None)

    def sweep(self, now: float, *, stopping: bool) -> None:
        """Find the leases to renew, to give back and to close."""
        rules = self._book.rules
        self._book.give_up_overdue()
        for purse in list(self._book.purses.values()):
            lease = purse.lease
            busy = purse.waiters or purse.account_id in self._book.asking
            unused = now - max(purse.used_at, purse.asked_at) > rules.idle_seconds
            idle = not busy and (unused or stopping)
            if lease is None:
                if idle:
                    del self._book.purses[purse.account_id]
            elif idle or (lease.open and now >= lease.deadline):
                self.drain(lease)
            elif lease.open and lease.deadline - now < rules.renew_seconds:
                self.renewing[lease.id] = lease
        for lease in list(self.draining.values()):
            if lease.purse.organization_id in self._apart:
                continue
            if lease.idle:
                self.closing[lease.id] = self.draining.pop(lease.id)
            elif lease.deadline - now < rules.renew_seconds:
                self.renewing[lease.id] = lease

    def set_apart(self, organization_id: str) -> None:
        """Stop using an organization's leases, and stop mentioning them."""
        for purse in self._book.purses.values():
            if purse.organization_id == organization_id and purse.lease is not None:
                self.drain(purse.lease)
        for group in (self.closing, self.renewing, self.keeping):
            for lease in [x for x in group.values() if x.purse.organization_id == organization_id]:
                self.draining[lease.id] = group.pop(lease.id)

    def try_again(self, organizations: Container[str]) -> None:
        """Mention the leases of those set apart in the tick that retries them."""
        for lease in list(self.draining.values()):
            if lease.purse.organization_id in organizations:
                if lease.idle:
                    self.closing[lease.id] = self.draining.pop(lease.id)
                else:
                    self.keeping[lease.id] = lease
