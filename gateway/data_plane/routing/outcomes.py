"""How a dispatch ends without vectors, and what the client is told.

None of these is charged. `public` is the message for the client; `detail` is for the log alone,
because it may name a worker.

    RoutingError
    ├── UnknownModel                 503  there is no pool of that name
    ├── Shed                         429  refused at once, to keep the promises made to others
    │   ├── WouldMissDeadline
    │   ├── OrganizationBacklogFull
    │   ├── PoolFull
    │   └── Overloaded               503  nobody asked for too much: all workers are full
    ├── NoWorker                     503  no worker is ready, and the time to hold is over
    ├── DeadlineMissed               504  the caller's time ran out
    ├── AllAttemptsFailed            502  every attempt failed, or the retry budget is spent
    ├── FatalInput                   502  an input ends each worker that tries it
    ├── Closing                      503  this gateway is shutting down
    ├── RowsRefused                  500  a worker rejects the rows themselves: our mistake
    └── RowsUnsuited                 400  no worker of the pool can take such rows
"""

from __future__ import annotations

from typing import ClassVar

from gateway.errors import NO_RETRY, GatewayError, retry_after

_FAILED_RETRY_SECONDS = 1.0
"""Workers that are at fault are examined within this time, and taken out."""
_LATER = "Nothing was charged; try again after the time in Retry-After."


class RoutingError(GatewayError):
    """Base of them all."""

    public: ClassVar[str] = "This can't be served; nothing was charged."

    def __init__(self, detail: str, *, retry_after_seconds: float | None = None) -> None:
        headers = {} if retry_after_seconds is None else retry_after(retry_after_seconds)
        super().__init__(self.public, headers=headers)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class UnknownModel(RoutingError):
    """There is no pool of that name."""

    status = 503
    code = "model_warming"
    retry = "later"
    public = "No worker serves this model; nothing was charged."


class Shed(RoutingError):
    """Refused so that accepted requests finish in time. `retry_after_seconds` is 1 to 60."""

    status = 429
    type = "rate_limit_error"
    retry = "later"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            f"{self.code}; try again in {retry_after_seconds:.0f} s",
            retry_after_seconds=retry_after_seconds,
        )
        self.retry_after_seconds = retry_after_seconds


class WouldMissDeadline(Shed):
    """It would not finish in the time that your client waits, so it was not started."""

    code = "would_miss_deadline"
    remedy = "Send less at once, or give the client a longer timeout."
    public = f"This would not finish before its deadline. {_LATER}"


class OrganizationBacklogFull(Shed):
    """You have more requests waiting for this model than it can process soon."""

    code = "organization_full"
    remedy = "Send less at once."
    public = f"The organization already has too much work waiting. {_LATER}"


class PoolFull(Shed):
    """The queue for this model is full, with the requests of all customers together."""

    code = "pool_full"
    remedy = "Try again after the time in `Retry-After`."
    public = f"Too much work is already waiting for this model. {_LATER}"


class Overloaded(Shed):
    """All workers of this model are full."""

    status = 503
    type = "server_error"
    code = "overloaded"
    remedy = "Try again."
    public = f"All workers of this model are full. {_LATER}"


class Closing(RoutingError):
    """This gateway is being replaced; another one serves you."""

    status = 503
    code = "closing"
    retry = "later"
    remedy = "Try again."
    public = "This gateway is closing; nothing was charged. Try again."

    def __init__(self) -> None:
        super().__init__("closing", retry_after_seconds=1.0)


class NoWorker(RoutingError):
    """No worker of this model is ready."""

    status = 503
    code = "model_warming"
    retry = "later"
    remedy = "Try again, or ask us to hold the request: `Prefer: wait=30`."
    public = (
        "No worker of this model is ready; nothing was charged. Try again after the time in "
        "Retry-After, or ask us to hold the request with Prefer: wait=30."
    )

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(
            f"no worker is ready; try again in {retry_after_seconds:.0f} s",
            retry_after_seconds=retry_after_seconds,
        )
        self.retry_after_seconds = retry_after_seconds


class DeadlineMissed(RoutingError):
    """The vectors were not ready in time; nothing was charged."""

    status = 504
    code = "timeout"
    retry = "yes"
    remedy = "Try again with a smaller request."
    public = "The vectors were not ready in time; nothing was charged."


class AllAttemptsFailed(RoutingError):
    """No worker gave a good answer; nothing was charged."""

    status = 502
    code = "upstream_error"
    retry = "later"
    remedy = "Try again."
    public = "No worker could embed this; nothing was charged. Try again."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after_seconds=_FAILED_RETRY_SECONDS)


class FatalInput(RoutingError):
    """This input crashed the workers that tried it, so it is rejected for a few minutes."""

    status = 502
    code = "input_failed"
    remedy = "Leave it out, or change it, and send us the `x-request-id`."

    def __init__(self, index: int, digest: str, *, is_new: bool) -> None:
        """`digest` is how logs name the input; `is_new` if it is refused from now on."""
        super().__init__(f"input[{index}] ends workers; digest {digest}")
        self.headers |= NO_RETRY
        self.param = "input"
        self.message = (
            f"input[{index}] crashed the workers that tried it, and is rejected for a few minutes; "
            "nothing was charged. Leave it out or change it."
        )
        self.digest = digest
        self.is_new = is_new


class RowsRefused(RoutingError):
    """A worker calls the rows themselves invalid; `__cause__` is what it said."""

    status = 500
    code = "internal_error"
    retry = "yes"
    public = "The gateway made a mistake; nothing was charged."


class RowsUnsuited(RoutingError):
    """No worker that serves this model can take this input: some read whole texts only."""

    status = 400
    type = "invalid_request_error"
    code = "input_not_supported"
    remedy = "Send text instead of token ids, and split it yourself instead of having it cut."
    public = (
        "No worker that serves this model can take this input: some read whole texts alone. Send "
        "text instead of token ids, and split it yourself instead of having it cut; nothing was "
        "charged."
    )
