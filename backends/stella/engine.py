"""The thread that computes. Batches form while it is busy; no timer holds a call back.

The event loop queues calls; one thread takes a batch, computes it and hands the vectors back. Rows
are checked before that, so any error of the forward pass is blamed on the device, which is not used
again: the batch's calls, the waiting ones and all later ones fail with EngineBroken, and the server
ends the process.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from backends.engine import Computed, EngineBroken, EngineRefusal
from backends.protocol import TokenRow, WorkerInfo
from backends.stella.metrics import Metrics
from backends.stella.queue import QueuedCall, Slot, TokenQueue

PROBE_IDS = np.array([101, 7592, 102], dtype="<u4").tobytes()  # [CLS] hello [SEP]
PROBE_SECONDS_MAX = 30.0
SECONDS_PER_TOKEN_DEFAULT = 1e-4
"""Used for Retry-After if nothing was measured."""


class StellaEngine:
    """Computes batches of at most `batch_tokens` tokens, or of one row if that is longer."""

    def __init__(
        self, info: WorkerInfo, computer: Computer, metrics: Metrics, *, batch_tokens: int
    ) -> None:
        self.info = info
        self._computer = computer
        self._metrics = metrics
        self._batch_tokens = batch_tokens
        self._queue = TokenQueue(info.batch_tokens_max)
        self._computing_since: float | None = None
        metrics.watch_queue(lambda: self._queue.tokens_waiting)
        # a daemon, so that a hanging device can't keep the process from exiting
        threading.Thread(target=self._work, name="stella", daemon=True).start()

    @property
    def computing_seconds(self) -> float:
        """How long the current batch has been computing; 0 when idle."""
        since = self._computing_since
        return 0.0 if since is None else time.monotonic() - since

    async def embed(self, rows: Sequence[TokenRow], deadline: float) -> Computed:
        """Queue the rows and wait for their vectors; see `backends.engine.Engine`."""
        if not rows:
            return Computed([])
        self._check_ids(rows)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Computed] = loop.create_future()

        def settle(call: QueuedCall, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(_resolve, done, call, error)

        call = QueuedCall(rows, deadline, settle)
        self._queue.put(call, self._seconds_for)
        try:
            return await done
        finally:
            self._queue.drop(call)

    async def probe(self) -> None:
        """Embed one word."""
        row = TokenRow(PROBE_IDS, self.info.dimensions[0])
        await self.embed([row], time.monotonic() + PROBE_SECONDS_MAX)

    def close(self) -> None:
        """Stop the thread after the current batch."""
        self._queue.close(EngineBroken("the engine was closed"))

    def _work(self) -> None:
        while batch := self._queue.take(self._batch_tokens):
            self._computing_since = time.monotonic()
            try:
                vectors = self._computer.embed([slot.row for slot in batch])
            except Exception as error:  # noqa: BLE001 - see the module's docstring
                traceback.print_exc()
                self._fail(batch, EngineBroken(f"{type(error).__name__}: {error}"))
                return
            self._metrics.batch(
                rows=len(batch),
                tokens=sum(slot.row.tokens for slot in batch),
                seconds=time.monotonic() - self._computing_since,
            )
            self._computing_since = None
            _hand_back(batch, vectors)

    def _fail(self, batch: list[Slot], reason: EngineBroken) -> None:
        self._computing_since = None
        self._queue.close(reason)
        for call in {slot.call for slot in batch}:
            call.settle(call, reason)

    def _seconds_for(self, tokens: int) -> float:
        base, slope = self.info.base_seconds, self.info.token_seconds
        return (base or 0.0) + tokens * (slope or SECONDS_PER_TOKEN_DEFAULT)

    def _check_ids(self, rows: Sequence[TokenRow]) -> None:
        ids = np.frombuffer(b"".join(row.ids for row in rows), dtype="<u4")
        if (largest := int(ids.max())) >= self._computer.vocabulary_size:
            raise EngineRefusal(
                f"token id {largest} is outside the vocabulary of {self._computer.vocabulary_size}"
            )


class Computer(Protocol):
    """Turns rows into vectors, on one thread."""

    vocabulary_size: int

    def embed(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Compute raw float32 vectors, in order. Whatever it raises ends the engine."""
        ...


def _hand_back(batch: list[Slot], vectors: list[bytes]) -> None:
    for slot, vector in zip(batch, vectors, strict=True):
        call = slot.call
        call.vectors[slot.place] = vector
        call.finished += 1
        if call.finished == len(call.rows):
            call.settle(call, None)


def _resolve(done: asyncio.Future[Computed], call: QueuedCall, error: BaseException | None) -> None:
    """Runs on the event loop. The caller may have hung up, or the call failed already."""
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
        return
    queue_seconds = call.started_at - call.arrived_at
    done.set_result(Computed(call.vectors, queue_seconds, time.monotonic() - call.started_at))
