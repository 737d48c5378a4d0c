"""The queue of rows to compute: bounded in tokens, shared fairly between calls.

`take` fills a batch up to a budget of tokens, and of numbers in its vectors, in two passes over the
waiting calls, oldest first: in the first each call gets an equal share of the tokens (at least one
row), in the second the oldest take what is left. So a short call joins the next batch beside a long
one, and the oldest call advances in every batch: neither starves the other.

Calls whose caller hung up or whose deadline passed are dropped here, before they cost time. All
methods may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from backends.engine import DeadlinePassed, EngineBusy
from backends.protocol import TokenRow

BATCH_FLOATS_MAX = 1 << 22
"""Most numbers in the vectors of one batch, rows x dimensions: 16 MB in float32, plus copies."""


class TokenQueue:
    """Holds at most `tokens_max` waiting tokens."""

    def __init__(self, tokens_max: int) -> None:
        self.tokens_max = tokens_max
        self.tokens_waiting = 0
        self._calls: dict[QueuedCall, None] = {}  # a set that keeps the order of arrival
        self._changed = threading.Condition()
        self._closed: BaseException | None = None

    def put(self, call: QueuedCall, retry_after_seconds: Callable[[int], float]) -> None:
        """Append the call. Raises EngineBusy if it doesn't fit, or why the queue was closed."""
        with self._changed:
            if self._closed is not None:
                raise self._closed
            waiting = self.tokens_waiting
            if waiting + call.tokens_waiting > self.tokens_max:
                raise EngineBusy(
                    f"{waiting} of {self.tokens_max} tokens are waiting already",
                    retry_after_seconds(waiting),
                )
            self._calls[call] = None
            self.tokens_waiting += call.tokens_waiting
            self._changed.notify()

    def take(self, budget: int, floats_max: int = BATCH_FLOATS_MAX) -> list[Slot]:
        """Wait for work, then return one batch; empty if the queue is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._closed)
                if self._closed is not None:
                    return []
                expired = self._drop_expired()
                batch = self._fill(budget, floats_max)
            for call in expired:
                call.settle(call, DeadlinePassed())
            if batch:
                return batch

    def drop(self, call: QueuedCall) -> None:
        """Drop an abandoned call; rows being computed are not stopped."""
        with self._changed:
            if call in self._calls:
                self._remove(call)

    def close(self, reason: BaseException) -> None:
        """Fail all waiting and all later calls with `reason`."""
        with self._changed:
            self._closed = reason
            calls = list(self._calls)
            self._calls.clear()
            self.tokens_waiting = 0
            self._changed.notify_all()
        for call in calls:
            call.settle(call, reason)

    def _drop_expired(self) -> list[QueuedCall]:
        now = time.monotonic()
        expired = [call for call in self._calls if call.deadline < now]
        for call in expired:
            self._remove(call)
        return expired

    def _fill(self, budget: int, floats_max: int) -> list[Slot]:
        batch = _Batch(budget, floats_max)
        share = budget // max(len(self._calls), 1)
        for allowance in (share, budget):
            for call in list(self._calls):
                self._draw(call, min(allowance, batch.tokens_left), batch)
                if batch.tokens_left <= 0 or batch.floats_left <= 0:
                    return batch.slots
        return batch.slots

    def _draw(self, call: QueuedCall, allowance: int, batch: _Batch) -> None:
        """Move rows of a call into the batch: what the allowance holds, at least one that fits."""
        drawn = 0
        while call.taken < len(call.rows):
            row = call.rows[call.taken]
            tokens = row.tokens
            fair = drawn + tokens <= allowance or (drawn == 0 and tokens <= batch.tokens_left)
            if batch.slots and not (fair and row.dimensions <= batch.floats_left):
                break
            if call.taken == 0:
                call.started_at = time.monotonic()
            batch.slots.append(Slot(call, call.taken))
            batch.tokens_left -= tokens
            batch.floats_left -= row.dimensions
            call.taken += 1
            call.tokens_waiting -= tokens
            self.tokens_waiting -= tokens
            drawn += tokens
        if call.taken == len(call.rows):
            del self._calls[call]

    def _remove(self, call: QueuedCall) -> None:
        del self._calls[call]
        self.tokens_waiting -= call.tokens_waiting


class QueuedCall:
    """One call: its rows and their progress."""

    def __init__(
        self,
        rows: Sequence[TokenRow],
        deadline: float,
        settle: Callable[[QueuedCall, BaseException | None], None],
    ) -> None:
        self.rows = rows
        self.deadline = deadline
        self.settle = settle
        """Called once, from any thread, with None when all rows are computed or with the error."""
        self.vectors = [b""] * len(rows)
        self.taken = 0
        self.finished = 0
        self.tokens_waiting = sum(row.tokens for row in rows)
        self.arrived_at = self.started_at = time.monotonic()


class _Batch:
    """A batch while it fills; its first row goes in whatever its size."""

    def __init__(self, tokens: int, floats: int) -> None:
        self.slots: list[Slot] = []
        self.tokens_left = tokens
        self.floats_left = floats


class Slot(NamedTuple):
    """One row in a batch."""

    call: QueuedCall
    place: int
    """Which row of the call."""

    @property
    def row(self) -> TokenRow:
        """The row to compute."""
        return self.call.rows[self.place]
