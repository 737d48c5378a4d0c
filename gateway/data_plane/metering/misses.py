"""Charged responses that reached nobody, until the ledger knows about them."""

from __future__ import annotations

from collections import Counter

from gateway.data_plane.metering.leases import LeaseRules, Undelivered


class Misses:
    """Bounded in total and for each organization: one alone can't take the others' room."""

    def __init__(self, rules: LeaseRules) -> None:
        self._rules = rules
        self._waiting: dict[str, Undelivered] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: Undelivered) -> bool:
        """Queue it for the ledger; return whether there is room."""
        own = self._of[one.charge.organization_id]
        if len(self) >= self._rules.undelivered_max or own >= self._rules.undelivered_own_max:
            return False
        self.put_back(one)
        return True

    def put_back(self, one: Undelivered) -> None:
        """Queue one again that was taken."""
        if one.charge.request_id not in self._waiting:
            self._of[one.charge.organization_id] += 1
        self._waiting[one.charge.request_id] = one

    def take(self, most: int) -> list[Undelivered]:
        """Take the oldest."""
        taken = [self._waiting.pop(request_id) for request_id in list(self._waiting)[:most]]
        for one in taken:
            organization_id = one.charge.organization_id
            self._of[organization_id] -= 1
            if not self._of[organization_id]:
                del self._of[organization_id]
        return taken
