"""A request in the router: split into shards, which are sent in attempts.

A request is finished exactly once, by its last vector or by an error. Vector i always belongs to
row i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.protocol import RequestRefused, TokenRow
from gateway.data_plane.routing.witnesses import Rider
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import Tier

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Trace

CALL_FLOATS_MAX = 262_144
"""Most numbers in one call's vectors: this many are checked and written in one turn of the loop."""


AccountKey = tuple[str, Tier]
"""An organization's requests of one tier."""


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """One caller's rows. `resolve` is called once, with all `vectors` or with `error` set."""

    organization: str
    rows: Sequence[TokenRow]
    deadline: float
    """On the dispatcher's clock, seconds."""
    resolve: Callable[[Request], None]
    request_id: str = ""
    tier: Tier = "default"
    hold_seconds: float = 15.0
    """How long to wait while no worker is ready."""
    trace: Trace | None = None
    """None unless it is sampled."""

    account: AccountKey = field(init=False)
    """The account whose turn in the queue it uses."""
    vectors: list[memoryview | None] = field(init=False)
    missing: int = field(init=False)
    """Rows without a vector yet."""
    shards: list[Shard] = field(default_factory=list, init=False)
    revision: str | None = field(default=None, init=False)
    """Revision of the first vector: the others must have the same."""
    rank: int = field(default=0, init=False)
    """Its place among the requests of its account; see `fair_queue`."""
    hold_until: float = field(default=0.0, init=False)
    finished: bool = field(default=False, init=False)
    error: Exception | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.account = (self.organization, self.tier)
        self.vectors = [None] * len(self.rows)
        self.missing = len(self.rows)

    _begun: bool = field(default=False, init=False)

    @property
    def begun(self) -> bool:
        """Whether any part of it was ever sent to a worker."""
        return self._begun or any(
            shard.attempts or shard.tries or shard.delivered for shard in self.shards
        )

    def let_go(self) -> None:
        """Drop the shards, which refer back to it: nothing is left for garbage collection."""
        self._begun = self.begun
        self.shards = []


class Progress:
    """A request's progress, for a caller that may stop waiting for it."""

    def __init__(self) -> None:
        self.request: Request | None = None

    @property
    def begun(self) -> bool:
        """Whether any part of it was ever sent to a worker."""
        return self.request is not None and self.request.begun


@dataclass(slots=True, eq=False)
class Shard:
    """Rows `start` to `stop` of a request; never split again."""

    request: Request
    start: int
    stop: int
    tokens: int
    floats: int
    """Numbers of its vectors."""
    tried: set[Worker] = field(default_factory=set)
    tries: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    """Those in flight: none, one, or two when hedged."""
    alone: bool = False
    """Sent in its own call: it was in a call that failed, and may have caused the failure."""
    charged: bool = False
    """Its tokens are in the account's counter: a retry is not counted again."""
    refusals: dict[Worker, RequestRefused] = field(default_factory=dict)
    """The refusal of each worker that got it in its own call: those are not asked again."""
    failed: bool = False
    """A worker failed on it, so a second worker that fails on it proves nothing."""
    losses: int = 0
    """Workers that were lost while computing it: above 0 it is suspected; see `suspects`."""
    fatal: bool = False
    """It is known to be why the last of them was lost."""
    invalid: int = 0
    """Invalid answers to it."""
    not_before: float = 0.0
    """When it may be sent again, if it is suspected."""
    delivered: bool = False

    @property
    def rows(self) -> Sequence[TokenRow]:
        """Its rows, in order."""
        rows = self.request.rows
        return rows if self.size == len(rows) else rows[self.start : self.stop]

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def open(self) -> bool:
        """Whether its vectors are still needed."""
        return not (self.delivered or self.request.finished)


@dataclass(slots=True, eq=False, kw_only=True)
class Attempt:
    """One call to one worker, with the shards of one or more requests in it."""

    worker: Worker
    shards: Sequence[Shard]
    rows: Sequence[TokenRow]
    """The rows of the call: shard after shard, and a rider among them."""
    doubts: int = 0
    """The doubts about the worker's process when it started."""
    rider: Rider | None = None
    """A row with a known vector that is not delivered."""
    tokens: int
    work_tokens: int
    """Tokens in flight at the worker when it started, including its own: they explain its time."""
    number: int
    """The lower, the earlier it was made."""
    started_at: float
    timeout_seconds: float
    cut: bool
    """The callers' deadlines made the timeout unfairly short: a timeout proves nothing."""
    suspect: bool
    """Its only shard is suspected: a worker gets one such call at a time, without a double."""
    hedged: bool = False
    """It is a double, or has one."""
    over: bool = False

    @property
    def request_id(self) -> str:
        """The first request in it: enough to find the call in a worker's log."""
        return self.shards[0].request.request_id


def split(request: Request, *, tokens_max: int, rows_max: int) -> None:
    """Split a request into shards of at most `rows_max` rows and `tokens_max` tokens.

    A shard's vectors have at most CALL_FLOATS_MAX numbers. A row with more of either is its own
    shard.
    """
    start, tokens, floats = 0, 0, 0
    for index, row in enumerate(request.rows):
        more = row.tokens
        full = (
            tokens + more > tokens_max
            or index - start >= rows_max
            or floats + row.dimensions > CALL_FLOATS_MAX
        )
        if full and index > start:
            request.shards.append(Shard(request, start, index, tokens, floats))
            start, tokens, floats = index, 0, 0
        tokens += more
        floats += row.dimensions
    if request.rows:
        request.shards.append(Shard(request, start, len(request.rows), tokens, floats))
