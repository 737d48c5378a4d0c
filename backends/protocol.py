"""The contract between the gateway and any embedding server.

A *backend* is a kind of server; a *worker* is a running one with a URL. Rows go in as token ids,
vectors come out as raw little-endian float32, in the order of the rows. Every failure is one of
the errors below. Each says who is to blame, because the router acts on that alone:

    BackendError
    ├── WorkerFault            the worker misbehaves: retry elsewhere, count it against the worker
    │   ├── WorkerUnreachable  refused, reset, or no such host
    │   │   └── WorkerLost     it ended while it had the rows: they may be why
    │   ├── WorkerTimeout      no answer in time
    │   ├── WorkerFailed       it answered 5xx, or something that no worker answers
    │   └── InvalidAnswer      it answered 200 with something that is not the rows' vectors
    ├── WorkerBusy             alive and full (429, 503): retry elsewhere, no fault
    │   └── WorkerReplaced     another process answered than the one that was examined
    ├── RequestRefused         it refused what we sent (400, 413, 422): our mistake, no fault
    │   └── BeyondWorker       valid rows that this worker can't take; another may
    └── OutOfResources         this process could not ask (no descriptor, no port): no fault
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

NO_HEADERS: Mapping[str, str] = {}


class Backend(Protocol):
    """One worker, as the router sees it. Implementations keep their own bounded connections."""

    url: str
    on_lost: Callable[[], None]
    """Called when the worker's process may have ended, and another one may answer now."""

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """Ask the worker what it serves. Raises BackendError."""
        ...

    def embed(
        self,
        rows: Sequence[TokenRow],
        *,
        timeout_seconds: float,
        request_id: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Future[list[memoryview]] | Coroutine[Any, Any, list[memoryview]]:
        """Embed the rows in one call. Canceling it closes the call.

        The result is one buffer for each row, in order: `dimensions` little-endian float32. The
        count and the sizes are checked here, the values by the router. `headers` are sent with the
        call, and say which trace it belongs to. Raises BackendError.
        """
        ...

    async def close(self) -> None:
        """Close its connections. Safe to call twice."""
        ...


class TokenRow(NamedTuple):
    """One text as token ids: everything that the model computes, with special tokens and prompt."""

    ids: bytes
    """Token ids as little-endian uint32."""
    dimensions: int
    """Length of the requested vector."""

    @property
    def tokens(self) -> int:
        """How many tokens the worker computes for this row."""
        return len(self.ids) // 4


AS_ADDRESSED = ""
"""The model of a worker that has another name for it, which an operator stated in its address."""


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker reports about itself (`GET /info`)."""

    model: str
    """The model's id in the catalog, or `AS_ADDRESSED`."""
    revision: str
    dtype: str
    dimensions: tuple[int, ...]
    tokens_max: int
    """Most tokens in one row."""
    rows_max: int
    """Most rows in one call."""
    batch_tokens_max: int
    """Most tokens in one call."""
    vocabulary_sha256: str
    """Checksum of the vocab.txt whose ids it understands."""
    base_seconds: float | None = None
    """`a` of: seconds = a + b * tokens, measured by the worker; None if it did not measure."""
    token_seconds: float | None = None
    """`b` in the same formula."""

    def misfit(self, rows: Sequence[TokenRow]) -> str:
        """Return which row this worker can't take and why; empty if it takes them all."""
        for index, row in enumerate(rows):
            if not 0 < row.tokens <= self.tokens_max:
                return f"row {index} has {row.tokens} tokens; 1 to {self.tokens_max} fit"
            if row.dimensions not in self.dimensions:
                served = ", ".join(map(str, self.dimensions))
                return f"row {index} wants {row.dimensions} dimensions; served: {served}"
        return ""


class BackendError(Exception):
    """A call to a worker returned no vectors."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class WorkerFault(BackendError):
    """The worker misbehaves."""


class WorkerUnreachable(WorkerFault):
    """Connection refused or reset, or unknown host."""


class WorkerLost(WorkerUnreachable):
    """It hung up without an answer, or said that it broke: the rows that it had may be why."""


class WorkerTimeout(WorkerFault):
    """No complete answer in time."""


class WorkerFailed(WorkerFault):
    """It answered with a server error, or with something that no worker answers."""


class InvalidAnswer(WorkerFault):
    """It answered 200 with something that is not the rows' vectors. Never deliver it."""


class WorkerBusy(BackendError):
    """Alive, but full or not ready. `retry_after_seconds` is what it asked for."""

    def __init__(self, url: str, reason: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(url, reason)
        self.retry_after_seconds = retry_after_seconds


class WorkerReplaced(WorkerBusy):
    """Another process answered than the one that was examined: it must be examined first."""


class RequestRefused(BackendError):
    """It refused what was sent: our mistake, unless another worker accepts it."""


class BeyondWorker(RequestRefused):
    """Rows and worker are fine, but this kind of worker can't take these rows."""


class OutOfResources(BackendError):
    """This process has no descriptor or port left for the call; the worker is not to blame."""
