"""How a dispatch ends when it does not end in vectors. Nothing of it is ever charged.

RoutingError
├── UnknownModel        there is no pool of that name
├── Shed                refused at once, to keep the promises made to others (429)
├── NoWorker            no worker is ready, and the time to hold the request is over (503)
├── DeadlineMissed      the caller's time ran out (504)
├── AllAttemptsFailed   each try went wrong, or the retry budget is spent (502)
├── RowsRefused         a worker calls the rows themselves wrong: our mistake (500)
└── ClientGone          nobody waits any more: counted, never raised
"""

from __future__ import annotations

from typing import Literal

ShedReason = Literal[
    "would_miss_deadline", "organization_full", "pool_full", "workers_busy", "closing"
]


class RoutingError(Exception):
    """A dispatch gave no vectors."""


class UnknownModel(RoutingError):
    """There is no pool of that name."""


class Shed(RoutingError):
    """Refused to keep the promises made to others. `retry_after_seconds` is 1 to 60."""

    def __init__(self, reason: ShedReason, retry_after_seconds: float) -> None:
        super().__init__(f"{reason}; try again in {retry_after_seconds:.0f} s")
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class NoWorker(RoutingError):
    """No worker is ready. `retry_after_seconds` is 1 to 60."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"no worker is ready; try again in {retry_after_seconds:.0f} s")
        self.retry_after_seconds = retry_after_seconds


class DeadlineMissed(RoutingError):
    """The caller's time ran out before the last vector arrived."""


class AllAttemptsFailed(RoutingError):
    """Each try went wrong; `__cause__` is the last error."""


class RowsRefused(RoutingError):
    """A worker calls the rows themselves wrong; `__cause__` is what it said."""


class ClientGone(RoutingError):
    """Nobody waits for the answer any more."""
