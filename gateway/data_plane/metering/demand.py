"""Calls to models that are not live: counted in memory, for others to write down.

The data plane only counts. What is counted is bounded, so that no flood of keys makes it grow; a
call that finds no room is served (or refused) just the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Demand(Protocol):
    """Who takes note of a call."""

    def called(self, model_id: str, organization_id: str) -> None:
        """Count one call; never blocks, never raises."""
        ...


class DemandCounter:
    """Counts calls by model and organization, between one `drain` and the next."""

    def __init__(self, *, entries_max: int) -> None:
        self._entries_max = entries_max
        self._calls: Counter[tuple[str, str]] = Counter()

    def called(self, model_id: str, organization_id: str) -> None:
        """Count one call."""
        entry = (model_id, organization_id)
        if entry in self._calls or len(self._calls) < self._entries_max:
            self._calls[entry] += 1

    def drain(self) -> Counter[tuple[str, str]]:
        """Return what was counted, and begin again."""
        drained, self._calls = self._calls, Counter()
        return drained

    def restore(self, calls: Counter[tuple[str, str]]) -> None:
        """Take back what could not be written down."""
        for entry, count in calls.items():
            if entry in self._calls or len(self._calls) < self._entries_max:
                self._calls[entry] += count
