"""Reservations that only wait for a retry, in the order in which they expire, and by account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class WaitingHolds:
    """The ids of their requests."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        """The first to expire comes first: all wait equally long."""
        self._accounts: dict[str, tuple[str, ...]] = {}
        self._of: dict[str, dict[str, None]] = {}
        """By account, so that giving up one account's doesn't touch the others."""

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[str]:
        return iter(self._until)

    def add(self, request_id: str, until: float, account_ids: Iterable[str]) -> None:
        """Add one."""
        self.remove(request_id)
        self._until[request_id] = until
        accounts = self._accounts[request_id] = tuple(account_ids)
        for account_id in accounts:
            self._of.setdefault(account_id, {})[request_id] = None

    def remove(self, request_id: str) -> bool:
        """Remove one; return whether it was waiting."""
        if self._until.pop(request_id, None) is None:
            return False
        for account_id in self._accounts.pop(request_id):
            left = self._of[account_id]
            del left[request_id]
            if not left:
                del self._of[account_id]
        return True

    def of(self, account_id: str) -> list[str]:
        """Return those that an account pays for."""
        return list(self._of.get(account_id, ()))

    def overdue(self, now: float) -> list[str]:
        """Return those that have waited long enough."""
        found = []
        for request_id, until in self._until.items():
            if until > now:
                break
            found.append(request_id)
        return found
