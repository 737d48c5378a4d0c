"""How often each caller may ask for what costs no credit, counted in this process."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.buckets import Buckets
from gateway.errors import TooManyRequests

_SECONDS = 60.0


class TooManyReads(TooManyRequests):
    """This key, or without one your network, asks too often for what costs nothing."""

    code = "too_many_reads"
    remedy = "Ask less often, and cache the responses; embeddings requests don't count."


class KeyRate:
    """So many requests a minute for each key, or for each network where there is no key."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._buckets = Buckets(per_minute, _SECONDS, clock=clock)

    def take(self, caller: str, requests: float = 1.0) -> None:
        """Count a request, or one that is as dear as several. Raises TooManyReads."""
        wait = self._buckets.take(caller, requests)
        if wait:
            raise TooManyReads(
                f"You may send {self._per_minute} of these requests a minute. Try again shortly.",
                retry_after_seconds=wait,
            )
