"""Rows that a worker was computing when it was lost, and rows known to crash workers.

When a worker is lost, any row that it had may be the reason. Each is then sent in its own call, and
a worker gets one such row at a time, besides everything that is not suspected. So if a second
worker is lost, the row that caused it is known: its request ends, and its digest is refused for a
while, whoever sends it and in whatever request. An answer clears a row.

A call that had a double may have cost both workers before anything is suspected. Which of its rows
it was is not known then: they wait while only one worker is left, unless the pool has no other.

It is sent again after a pause; otherwise, workers that someone stops at the same moment would count
against it too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from backends.protocol import TokenRow
from gateway.data_plane.routing.outcomes import FatalInput
from gateway.data_plane.routing.request import Attempt, Shard
from gateway.data_plane.routing.settings import RoutingSettings

PAUSE_SECONDS = 0.1
"""How long a row waits after a loss: by then, other workers stopped at the same moment are
closed."""
_REFUSED_MAX = 1_024
"""Digests that are remembered; the oldest is forgotten."""


class Suspects:
    """The suspected rows of one pool that wait for their turn, and the digests that are refused."""

    def __init__(self, settings: RoutingSettings, clock: Callable[[], float]) -> None:
        self._seconds = settings.fatal_input_seconds
        self._clock = clock
        self.waiting: deque[Shard] = deque()
        self.out: list[Shard] = []
        """Those that are in the queue or at a worker."""
        self.refused: dict[str, float] = {}
        """Until when each digest is refused, oldest first."""
        self.condemned = 0
        """Rows that were refused since the start."""

    def blame(self, attempt: Attempt) -> None:
        """Suspect what a worker had when it was lost."""
        for shard in attempt.shards:
            shard.fatal = shard.losses > 0 and shard.size == 1 == len(attempt.shards)
            shard.losses += 1

    def hold(self, shard: Shard) -> None:
        """Queue a suspected shard for its turn, row by row."""
        if shard in self.out:
            self.out.remove(shard)
        shard.not_before = self._clock() + PAUSE_SECONDS
        self.waiting += _rows_of(shard) if shard.size > 1 else [shard]

    def turn(self, workers: int, ready: int) -> Iterator[Shard]:
        """Return the next rows: no more are out than there are workers."""
        now, held = self._clock(), []
        risky = ready <= 1 < workers
        self.out = [shard for shard in self.out if shard.open]
        while self.waiting and len(self.out) < max(1, workers):
            if now < self.waiting[0].not_before and self.waiting[0].open:
                break
            shard = self.waiting.popleft()
            if not shard.open:
                continue
            if risky and shard.losses > 1:
                held.append(shard)
            else:
                self.out.append(shard)
                yield shard
        self.waiting.extendleft(reversed(held))

    def condemn(self, shard: Shard) -> FatalInput:
        """Refuse a row from now on; returns the error that its request ends with."""
        assert shard.size == 1, "nobody knows which of its rows it was"
        digest = digest_of(shard.rows[0])
        self.condemned += 1
        self.refused.pop(digest, None)
        self.refused[digest] = self._clock() + self._seconds
        if len(self.refused) > _REFUSED_MAX:
            del self.refused[next(iter(self.refused))]
        return FatalInput(shard.start, digest, is_new=True)

    def find(self, rows: Sequence[TokenRow]) -> FatalInput | None:
        """Return the error of rows of which one is refused, or None."""
        now = self._clock()
        for digest, until in tuple(self.refused.items()):
            if until > now:
                break
            del self.refused[digest]
        for index, row in enumerate(rows) if self.refused else ():
            if (digest := digest_of(row)) in self.refused:
                return FatalInput(index, digest, is_new=False)
        return None


def digest_of(row: TokenRow) -> str:
    """Return a row's name in logs, whatever its dimensions: its text can't be recovered from it."""
    return sha256(row.ids).hexdigest()[:32]


def _rows_of(shard: Shard) -> list[Shard]:
    """Replace a shard by one shard per row."""
    request, rows = shard.request, shard.rows
    parts = [
        Shard(
            *(request, shard.start + index, shard.start + index + 1, row.tokens, row.dimensions),
            tried=set(shard.tried),
            tries=shard.tries,
            alone=True,
            charged=shard.charged,
            failed=shard.failed,
            losses=shard.losses,
            invalid=shard.invalid,
            not_before=shard.not_before,
        )
        for index, row in enumerate(rows)
    ]
    request.shards.remove(shard)
    request.shards += parts
    return parts
