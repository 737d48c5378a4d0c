"""The errors of a dispatch, and what a client is told.

None of them is ever charged. The class carries the HTTP status; `detail` is only for the log,
because it may name a worker.

    RoutingError
    ├── UnknownModel        503  there is no pool of that name
    ├── Shed                429  refused at once, so that accepted requests finish in time
    │   └── Overloaded      503  the same, if all workers say that they are full
    ├── NoWorker            503  no worker is ready, and the time to hold the request is over
    ├── DeadlineMissed      504  the request's deadline passed
    ├── AllAttemptsFailed   502  every try failed, or the retry budget is spent
    ├── Closing             503  this gateway shuts down
    ├── RowsRefused         500  a worker calls the rows themselves wrong: our mistake
    └── RowsUnsuited        400  no worker of the pool accepts such rows
"""

from __future__ import annotations

from typing import ClassVar, Literal

from gateway.errors import GatewayError, retry_after

ShedReason = Literal["would_miss_deadline", "organization_full", "pool_full", "overloaded"]

_SHED = {
    "would_miss_deadline": "This would not be done in the time it is given.",
    "organization_full": "The organization has too much waiting already.",
    "pool_full": "Too much is waiting for this model already.",
    "overloaded": "All workers of this model are full.",
}


class RoutingError(GatewayError):
    """Base of them all."""

    public: ClassVar[str] = "This can't be served; nothing was charged."

    def __init__(
        self,
        detail: str,
        *,
        retry_after_seconds: float | None = None,
        code: str | None = None,
        public: str | None = None,
    ) -> None:
        headers = {} if retry_after_seconds is None else retry_after(retry_after_seconds)
        super().__init__(public or self.public, code=code, headers=headers)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class UnknownModel(RoutingError):
    """There is no pool of that name."""

    status = 503
    code = "model_warming"
    public = "No worker serves this model; nothing was charged."


class Shed(RoutingError):
    """Refused so that accepted requests finish in time. `retry_after_seconds` is 1 to 60."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, reason: ShedReason, retry_after_seconds: float) -> None:
        super().__init__(
            f"{reason}; try again in {retry_after_seconds:.0f} s",
            retry_after_seconds=retry_after_seconds,
            code=reason,
            public=f"{_SHED[reason]} Nothing was charged; try again after the time in Retry-After.",
        )
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Shed):
    """Every worker said that it is full."""

    status = 503
    type = "server_error"


class Closing(RoutingError):
    """This gateway shuts down; another one may serve the request."""

    status = 503
    code = "closing"
    public = "This gateway is closing; nothing was charged. Try again."

    def __init__(self) -> None:
        super().__init__("closing", retry_after_seconds=1.0)


class NoWorker(RoutingError):
    """No worker is ready. `retry_after_seconds` is 1 to 60."""

    status = 503
    code = "model_warming"
    public = (
        "No worker of this model is ready; nothing was charged. Try again after the time in "
        "Retry-After, or wait here: Prefer: wait=30."
    )

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            f"no worker is ready; try again in {retry_after_seconds:.0f} s",
            retry_after_seconds=retry_after_seconds,
        )
        self.retry_after_seconds = retry_after_seconds


class DeadlineMissed(RoutingError):
    """The request's deadline passed before the last vector arrived."""

    status = 504
    code = "timeout"
    public = "The vectors were not ready in time; nothing was charged."


class AllAttemptsFailed(RoutingError):
    """Every try failed; `__cause__` is the last error."""

    status = 502
    code = "upstream_error"
    public = "No worker could embed this; nothing was charged. Try again."


class RowsRefused(RoutingError):
    """A worker calls the rows themselves invalid; `__cause__` is what it said."""

    status = 500
    code = "internal_error"
    public = "The gateway made a mistake; nothing was charged."


class RowsUnsuited(RoutingError):
    """No worker of the pool accepts such rows, though they are valid."""

    status = 400
    type = "invalid_request_error"
    code = "input_not_supported"
    public = (
        "No worker that serves this model can take this input: some read whole texts alone. Send "
        "text instead of token ids, and split it yourself instead of having it cut; nothing was "
        "charged."
    )
