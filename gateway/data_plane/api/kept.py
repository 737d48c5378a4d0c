"""Responses kept for retries, bounded in time and bytes.

Organizations share the space: when it is full, one of those that hold the most gives up its oldest
response. So an organization's large responses push out its own, and one that holds less than half
of an equal share loses nothing to others.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.data_plane.api.bills import Bill


class KeptReply(NamedTuple):
    """An answer that is kept."""

    organization_id: str
    request_id: str
    """The request that is charged for it."""
    body_digest: bytes
    body: bytes
    """Empty once the vectors had to make room: the fact of payment is remembered longer."""
    lines: bytes
    has_reached: bool
    """Whether a client was connected when it was charged. If not, identical bytes are a retry."""
    bill: Bill | None
    """Not paid yet: nobody was waiting when it was done."""


class Kept:
    """Answers by identity."""

    def __init__(
        self,
        seconds: float,
        bytes_max: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_evict: Callable[[bytes, KeptReply, float], None] | None = None,
    ) -> None:
        """`on_evict` gets each response that had to make room for others, and when it expires."""
        self.seconds = seconds
        self.bytes = 0
        self._bytes_max = bytes_max
        self._clock = clock
        self._on_evict = on_evict
        self.answers: OrderedDict[bytes, tuple[Any, ...]] = OrderedDict()
        """The oldest first: the fields of a KeptReply, its size, and when it expires. As plain
        tuples, which the garbage collector does not look at."""
        self._shares: dict[str, _Share] = {}
        self._ranks: list[dict[str, _Share]] = [{} for _ in range(bytes_max.bit_length() + 2)]
        """The shares by the bits of their size: one of the largest is found without a search."""

    def get(self, identity: bytes) -> KeptReply | None:
        """Return what is kept, if it has not expired."""
        self._expire()
        found = self.answers.get(identity)
        return KeptReply(*found[:-2]) if found and found[-1] > self._clock() else None

    def expiry(self, identity: bytes) -> float | None:
        """Return when an answer expires, if it is kept."""
        found = self.answers.get(identity)
        return found[-1] if found else None

    def put(self, identity: bytes, answer: KeptReply, until: float | None = None) -> None:
        """Keep an answer for `seconds`, or `until` then at most.

        One that is larger than the whole space is not kept.
        """
        size = len(answer.body) + len(answer.lines)
        if size > self._bytes_max:
            return
        if identity in self.answers:
            self.forget(identity)
        expiry = self._clock() + self.seconds
        self.answers[identity] = (*answer, size, expiry if until is None else min(until, expiry))
        organization_id = answer.organization_id
        if organization_id not in self._shares:
            self._shares[organization_id] = _Share(organization_id)
        share = self._shares[organization_id]
        share.identities[identity] = None
        self._resize(share, size)
        self._expire()
        while self.bytes > self._bytes_max:
            self._evict()

    def mark_reached(self, identity: bytes, request_id: str, *, has_reached: bool) -> bool:
        """Note whether a response reached anyone; return whether it is kept."""
        found = self.answers.get(identity)
        if found is None or found[_REQUEST_ID] != request_id:
            return False
        self.answers[identity] = (*found[:_HAS_REACHED], has_reached, *found[_HAS_REACHED + 1 :])
        return True

    def forget(self, identity: bytes) -> None:
        """Drop an answer that is kept."""
        answer = self.answers.pop(identity)
        share = self._shares[answer[0]]
        del share.identities[identity]
        self._resize(share, -answer[-2])
        if not share.identities:
            self._ranks[share.bytes.bit_length()].pop(share.organization_id, None)
            del self._shares[share.organization_id]

    def _expire(self) -> None:
        now = self._clock()
        while self.answers:
            oldest = next(iter(self.answers))
            if self.answers[oldest][-1] > now:
                return
            self.forget(oldest)

    def _evict(self) -> None:
        """Drop the oldest answer of an organization that holds at least half of the most."""
        largest = next(rank for rank in reversed(self._ranks) if rank)
        share = next(iter(largest.values()))
        oldest = next(iter(share.identities))
        *fields, _, expiry = self.answers[oldest]
        self.forget(oldest)
        if self._on_evict is not None:
            self._on_evict(oldest, KeptReply(*fields), expiry)

    def _resize(self, share: _Share, size: int) -> None:
        before = share.bytes.bit_length()
        share.bytes += size
        self.bytes += size
        after = share.bytes.bit_length()
        if before != after:
            self._ranks[before].pop(share.organization_id, None)
            self._ranks[after][share.organization_id] = share


_REQUEST_ID = KeptReply._fields.index("request_id")
_HAS_REACHED = KeptReply._fields.index("has_reached")


class _Share:
    """What one organization has."""

    __slots__ = ("bytes", "identities", "organization_id")

    def __init__(self, organization_id: str) -> None:
        self.organization_id = organization_id
        self.bytes = 0
        self.identities: OrderedDict[bytes, None] = OrderedDict()
        """Of its answers, the oldest first."""
