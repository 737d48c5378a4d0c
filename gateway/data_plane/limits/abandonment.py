"""Organizations that don't wait for their work: free in moderation, charged in bulk.

Counted only by this process. Nothing is counted for an organization that abandons nothing: its
tokens count from the first work that it abandons.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_SECONDS = 600.0
_PARTS = 10


class Abandonment:
    """The last ten minutes' work of organizations that abandoned some of it."""

    def __init__(
        self,
        *,
        requests_max: int,
        tokens_share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Above this many requests and this share of its tokens, an organization pays."""
        self._requests_max = requests_max
        self._tokens_share = tokens_share
        self._clock = clock
        self.watched: dict[str, deque[_Part]] = {}
        """By organization, the one that has been idle longest first."""

    def abandon(self, organization_id: str, tokens: int) -> bool:
        """Count work that nobody waits for; return whether it is charged anyway."""
        self._forget_idle()
        part = self._part(organization_id)
        part.requests += 1
        part.abandoned_tokens += tokens
        part.tokens += tokens
        return self.count(organization_id) > 0

    def fetch(self, organization_id: str, tokens: int) -> None:
        """Take it back: a retry fetched it."""
        for part in reversed(self.watched.get(organization_id, ())):
            if part.requests:
                part.requests -= 1
                part.abandoned_tokens -= tokens
                return

    def deliver(self, organization_id: str, tokens: int) -> None:
        """Count delivered work of a `watched` organization."""
        self._part(organization_id).tokens += tokens

    def count(self, organization_id: str) -> int:
        """Return how many requests it abandoned, if it pays for them; otherwise 0."""
        since = self._clock() - _SECONDS
        parts = [part for part in self.watched.get(organization_id, ()) if part.began > since]
        requests = sum(part.requests for part in parts)
        abandoned = sum(part.abandoned_tokens for part in parts)
        allowed = self._tokens_share * sum(part.tokens for part in parts)
        return requests if requests > self._requests_max and abandoned > allowed else 0

    def _part(self, organization_id: str) -> _Part:
        parts = self.watched.pop(organization_id, None) or deque(maxlen=_PARTS)
        self.watched[organization_id] = parts
        now = self._clock()
        if not parts or now - parts[-1].began >= _SECONDS / _PARTS:
            parts.append(_Part(now))
        return parts[-1]

    def _forget_idle(self) -> None:
        since = self._clock() - _SECONDS
        while self.watched:
            oldest = next(iter(self.watched))
            if self.watched[oldest][-1].began > since:
                return
            del self.watched[oldest]


class _Part:
    """A tenth of the time."""

    __slots__ = ("abandoned_tokens", "began", "requests", "tokens")

    def __init__(self, began: float) -> None:
        self.began = began
        self.requests = 0
        """Those abandoned."""
        self.abandoned_tokens = 0
        self.tokens = 0
        """All, the abandoned ones included."""
