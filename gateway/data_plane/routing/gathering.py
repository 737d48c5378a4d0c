"""How long requests wait for company, since a call costs about as much as the rest of a request.

While calls are in flight, requests gather until none is, until they fill a call, or for a moment,
and not at all while our own event loop is quiet: then a call costs nobody anything.
"""

from __future__ import annotations

from gateway.data_plane.routing.calls import Calls
from gateway.data_plane.routing.fair_queue import FairQueue

_GATHER_SECONDS = 0.001


class Gathering:
    """Whether requests in the queue are waiting for company."""

    def __init__(self, queue: FairQueue, calls: Calls) -> None:
        self._queue = queue
        self._calls = calls
        self._since: float | None = None

    @property
    def on(self) -> bool:
        """Whether gathering is in progress."""
        return self._since is not None

    def begin(self, now: float) -> None:
        """Begin with a request that is about to join the queue, if nothing else waits there."""
        if not self._queue.tokens:
            self._since = now

    def end_if(self, now: float, *, quiet: bool, full_tokens: int) -> None:
        """End it if waiting pays no longer; `full_tokens` fill a call."""
        if self._since is not None and (
            quiet
            or not self._calls.flying
            or self._queue.tokens >= full_tokens
            or now - self._since >= _GATHER_SECONDS
        ):
            self._since = None
