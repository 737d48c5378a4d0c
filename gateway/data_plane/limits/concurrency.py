"""Requests in progress: bounded for the process, and for each organization in it.

Beyond the bound a request is refused at once (429), because queueing it would only delay all of
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import TooManyRequests

_RETRY_AFTER_SECONDS = 1.0


class InFlight:
    """Counts the requests in progress."""

    def __init__(self, *, total_max: int, organization_max: int) -> None:
        self._total_max = total_max
        self._organization_max = organization_max
        self._total = 0
        self._by_organization: Counter[str] = Counter()
        self._limit = str(min(total_max, organization_max))

    def headers(self, organization_id: str) -> list[tuple[str, str]]:
        """Return the headers with the limit and what remains of it."""
        left = min(
            self._organization_max - self._by_organization.get(organization_id, 0),
            self._total_max - self._total,
        )
        return [
            ("x-ratelimit-limit-requests", self._limit),
            ("x-ratelimit-remaining-requests", str(left)),
        ]

    @contextmanager
    def admit(self, organization_id: str) -> Iterator[None]:
        """Hold a place for one request while the block runs. Raises TooManyInFlight (429)."""
        if self._by_organization[organization_id] >= self._organization_max:
            raise TooManyInFlight(
                f"{self._organization_max} requests of this organization are in progress already. "
                "Send fewer at once, or more inputs in each.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        if self._total >= self._total_max:
            raise TooManyInFlight(
                "The gateway is at capacity. Try again shortly.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        self._total += 1
        self._by_organization[organization_id] += 1
        try:
            yield
        finally:
            self._total -= 1
            self._by_organization[organization_id] -= 1
            if not self._by_organization[organization_id]:
                del self._by_organization[organization_id]

    def __len__(self) -> int:
        return self._total


class TooManyInFlight(TooManyRequests):
    """Too many requests are being served at the same time."""

    code = "too_many_in_flight"
    remedy = "Send fewer at once, with more inputs in each."
