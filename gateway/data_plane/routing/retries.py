"""The retry budget: when everything fails, retries must not multiply the load."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.data_plane.routing.settings import RoutingSettings


class RetryBudget:
    """A bucket of retries, filled by answers and by time."""

    def __init__(self, settings: RoutingSettings, now: float) -> None:
        self._settings = settings
        self._left = settings.retries_max
        self._at = now

    def earn(self) -> None:
        """Note an answer."""
        earned = self._left + self._settings.retries_per_success
        self._left = min(self._settings.retries_max, earned)

    def spend(self, now: float) -> bool:
        """Take one retry; false when there is none."""
        refill = (now - self._at) * self._settings.retries_per_second
        self._left = min(self._settings.retries_max, self._left + refill)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
