"""What an error says about a worker. Who is to blame is decided here and nowhere else.

Client errors opened the breakers of healthy workers elsewhere, and 429 was taken for death: so
only a `WorkerFault` accuses, and a timeout only when it can't have been us.
"""

from __future__ import annotations

import enum

from backends.protocol import (
    BeyondWorker,
    InvalidAnswer,
    RequestRefused,
    WorkerBusy,
    WorkerFault,
    WorkerTimeout,
    WorkerUnreachable,
)


class NotReady(WorkerBusy):
    """It says itself that it warms or drains: it wants no work."""


class Evidence(enum.Enum):
    """How heavy an error weighs."""

    HARD = "hard"
    """Proof: out at once, even if it is the last worker. No answer is better than garbage."""
    SOFT = "soft"
    """Counts; several make a proof."""
    SUSPICION = "suspicion"
    """Proves nothing, but a canary should look."""
    BUSY = "busy"
    """Alive and full."""
    NONE = "none"
    """Something of our own broke, or the worker is well but can't take this."""


def weigh(error: Exception, *, excused: bool) -> Evidence:
    """Weigh an error; `excused` when a timeout may be our own doing."""
    match error:
        case InvalidAnswer() | WorkerUnreachable():
            return Evidence.HARD
        case WorkerTimeout() if excused:
            return Evidence.SUSPICION
        case WorkerFault():
            return Evidence.SOFT
        case WorkerBusy():
            return Evidence.BUSY
        case RequestRefused() if not isinstance(error, BeyondWorker):
            return Evidence.SUSPICION  # our mistake, as long as no other worker takes the same
        case _:
            return Evidence.NONE
