"""How often each network may try API keys that only the database could know."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.buckets import Buckets
from gateway.errors import TooManyRequests

_SECONDS = 60.0


class TooManyUnknownKeys(TooManyRequests):
    """Your network has tried too many API keys that do not exist."""

    code = "too_many_unknown_keys"
    remedy = "Create a new key in the console: newer keys are recognized without a lookup."


class UnknownKeys:
    """Counts tries by network."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(per_minute, _SECONDS, clock=clock)

    def take(self, network: str) -> None:
        """Count one try. Raises TooManyUnknownKeys."""
        wait = self._buckets.take(network)
        if wait:
            raise TooManyUnknownKeys(
                "This key has to be looked up, and this network has tried too many keys that "
                "don't exist. It may be valid: try again, or create a new one.",
                retry_after_seconds=wait,
            )

    def give_back(self, network: str) -> None:
        """Take back one try: the key exists, or the lookup failed."""
        self._buckets.give_back(network)
