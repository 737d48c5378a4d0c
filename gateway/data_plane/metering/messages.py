"""What a process and the ledger say to each other: one message a tick, and its answer.

All amounts are absolute, never differences, and a process chooses the ids of its leases: a tick
whose answer was lost can be said again in other words, and nothing happens twice.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class LedgerUnavailable(Exception):
    """The ledger could not be asked, or its answer was lost: the outcome is unknown."""


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request: the usage row, and the leases that pay for it."""

    request_id: str
    organization_id: str
    key_id: str
    model_id: str
    price_id: str
    inputs: int
    tokens: int
    cost_nanos: int
    lease_id: str
    budget_id: str | None
    budget_lease_id: str | None
    created_ms: int
    """Unix time in milliseconds, which is also the first part of the request id."""


class LeaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a process wants of one lease.

    `keep`: hold `keep_nanos` at most, the rest goes back. `close`: it is over, all of the rest goes
    back. `ask`: hold `least_nanos` at least and `target_nanos` at best, opening the lease if need
    be; when not even the least is there, fall back to `keep_nanos`.
    """

    id: str
    account_id: str
    action: Literal["keep", "close", "ask"]
    keep_nanos: int = 0
    least_nanos: int = 0
    target_nanos: int = 0
    waited_seconds: float = 0
    """How long ago the first of those who wait was denied for the first time; 0: not yet."""
    key_id: str | None = None
    period: str | None = None
    """Of a key's budget: the key and the period, from which its account is opened."""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """All that a process has to say at one moment."""

    replica_id: str
    number: int
    """Rises by one; of two ticks about a lease, the later one holds."""
    lease_seconds: float
    shard: int
    lease_ids: list[str]
    """Every lease that this tick names, or that it only renews."""
    usage: list[msgspec.Raw]
    """UsageLines, encoded once for the journal and the ledger."""
    answered: list[str]
    """The requests among them that can't be refused any more: answered, or sent before."""
    leases: list[LeaseLine]


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with one lease after its line."""

    id: str
    state: Literal["none", "open", "closed"]
    granted_nanos: int
    """All that was ever granted to the lease and not given back, what it has spent included."""
    available_nanos: int
    """What the account has left for leases, all processes'."""
    denied: bool
    frozen: bool
    unreached_nanos: int
    """When denied: what other processes hold and have not spent, of those that have not given back
    all they could since the first denial."""


class TickAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a tick. All its usage not listed here is charged, now or earlier."""

    refused: list[str]
    """Requests whose lease was gone and whose account can't pay: no row was written."""
    written_off: list[str]
    """The same, but already answered: the row says that nothing was charged."""
    leases: list[LeaseAnswer]
    closed: list[str]
    """The leases named that are no longer open."""
    recalled: list[str]
    """Accounts of which another process needs what this one holds and doesn't use."""


class Ledger(Protocol):
    """The truth, as the data plane sees it."""

    async def tick(self, tick: Tick) -> TickAnswer:
        """Apply a tick, all or nothing. Raises LedgerUnavailable: the outcome is unknown."""
        ...
