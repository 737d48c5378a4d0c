"""How often each caller may send free requests, counted in this process."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.buckets import Buckets
from gateway.errors import TooManyRequests

_SECONDS = 60.0


class TooManyReads(TooManyRequests):
    """This key, or your network if there is no key, sends too many free requests."""

    code = "too_many_reads"
    remedy = "Ask less often, and cache the responses; embeddings requests don't count."


class KeyRate:
    """A number of requests per minute for each key, or for each network without a key."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._buckets = Buckets(per_minute, _SECONDS, clock=clock)

    def take(self, caller: str, requests: float = 1.0) -> None:
        """Count a request, or one that costs as much as several. Raises TooManyReads."""
        wait = self._buckets.take(caller, requests)
        if wait:
            raise TooManyReads(
                f"You may send {self._per_minute} of these requests a minute. Try again shortly.",
                retry_after_seconds=wait,
            )
