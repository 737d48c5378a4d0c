"""The interface of the engine behind a worker's server, and how an engine can fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from backends.protocol import TokenRow, WorkerInfo


class Engine(Protocol):
    """Computes vectors. `embed` may be called concurrently; the engine bounds its own queue."""

    info: WorkerInfo

    async def embed(self, rows: Sequence[TokenRow], deadline: float) -> Computed:
        """Compute raw float32 vectors, in order; `deadline` is in `time.monotonic()` seconds.

        Canceled when the caller hangs up, because then nobody needs the rows.
        Raises EngineBusy, EngineRefusal, DeadlinePassed or EngineBroken.
        """
        ...

    async def probe(self) -> None:
        """Run one small, real forward pass; raises if the engine can't compute."""
        ...


class Computed(NamedTuple):
    """The vectors of one call, in order, and how long it queued and computed."""

    vectors: list[bytes]
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0


class EngineBusy(Exception):
    """The queue is full; try again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineRefusal(Exception):
    """These rows can never be embedded here; the message says why."""


class DeadlinePassed(Exception):
    """The caller's time ran out before the rows were computed."""


class EngineBroken(Exception):
    """The engine can't compute anymore (a device error): the process must exit."""


class StartupError(Exception):
    """The engine can't start; the message says why and what to do, without a traceback."""
