"""What a worker's door asks of whatever computes behind it, and how that may fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from backends.protocol import TokenRow, WorkerInfo


class Engine(Protocol):
    """What computes. `embed` may be called concurrently and queues within its own bounds."""

    info: WorkerInfo

    async def embed(self, rows: Sequence[TokenRow], deadline: float) -> Computed:
        """Compute raw float32 vectors, in order; `deadline` is in `time.monotonic()` seconds.

        Cancelled when the caller hangs up: rows that nobody waits for need not be computed.
        Raises EngineBusy, EngineRefusal, DeadlinePassed or EngineBroken.
        """
        ...

    async def probe(self) -> None:
        """Run one real, small forward pass; raises when the engine can't compute."""
        ...


class Computed(NamedTuple):
    """The vectors of one call, in order, and where its time went."""

    vectors: list[bytes]
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0


class EngineBusy(Exception):
    """The queue is full; try again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineRefusal(Exception):
    """These rows can't be embedded here, now or later; the text says why."""


class DeadlinePassed(Exception):
    """Nobody waits for these rows any more."""


class EngineBroken(Exception):
    """The engine can't compute any more (a device error): the process has to end."""


class StartupError(Exception):
    """The engine can't start; the text says why and what to do, no traceback is needed."""
