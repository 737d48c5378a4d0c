"""The messages between a process and the ledger: a tick, and its answer.

All amounts are absolute, never differences, and a process chooses the ids of its leases. So a tick
whose answer was lost can be followed by a different one, and nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from gateway.data_plane.metering.port import FreezeCause


class LedgerUnavailable(Exception):
    """The ledger could not be reached, or its answer was lost: the outcome is unknown."""


class LedgerRefused(Exception):
    """The ledger could not apply a tick because of what is in it; nothing of it was applied."""


class UsageLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A settled request: its usage row, and the leases that pay for it."""

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
    """Unix time in milliseconds, as in the request id."""
    unknown: bool = False
    """In a journal: its client was told that the charge is unknown. It is to be credited back."""
    print: str | None = None
    """What identifies the request among those of its key; None: sent by a process of version
    0.1."""
    print_seconds: float | None = None
    """How long identical requests are free once this one is charged: it has an Idempotency-Key."""


class UndeliveredLine(msgspec.Struct, frozen=True, kw_only=True):
    """A charged request whose response reached nobody: one identical request is free."""

    key_id: str
    print: str
    request_id: str
    seconds: float
    """For how long."""


class LeaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a process asks for one lease.

    `keep`: hold at most `keep_nanos` and return the rest. `close`: return everything unspent.
    `ask`: hold at least `least_nanos`, ideally `target_nanos`, opening the lease if necessary; if
    not even the least is available, fall back to `keep_nanos`.
    """

    id: str
    account_id: str
    action: Literal["keep", "close", "ask"]
    keep_nanos: int = 0
    least_nanos: int = 0
    target_nanos: int = 0
    waited_seconds: float = 0
    """How long ago the first waiting request was first denied; 0 if it wasn't."""
    key_id: str | None = None
    period: str | None = None
    """Key and period of a key's budget, from which its account is opened."""


class RootLine(msgspec.Struct, frozen=True, kw_only=True):
    """The signed root of the tree of a tick's receipts; bytes are base64 as JSON."""

    id: str
    """UUIDv7; a root that is sent again is written once."""
    size: int
    """How many receipts it covers."""
    root: bytes
    previous: bytes
    """Digest of the root before in this process's chain; zeros for its first."""
    key_id: str
    key: bytes
    """The public key that signed it."""
    signature: bytes


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a process sends at one moment."""

    replica_id: str
    number: int
    """Increases by one; of two ticks about a lease, the later one wins."""
    lease_seconds: float
    shard: int
    lease_ids: list[str]
    """Every lease that this tick mentions or renews."""
    usage: list[msgspec.Raw]
    """UsageLines as JSON."""
    answered: list[str]
    """The requests among them that can no longer be refused: already answered, or sent before."""
    leases: list[LeaseLine]
    root: RootLine | None = None
    claims: bool = False
    """Whether any of the usage has `print_seconds`."""
    undelivered: list[UndeliveredLine] = []


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one lease after its line."""

    id: str
    state: Literal["none", "open", "closed"]
    granted_nanos: int
    """Everything granted to the lease and not given back, including what it has spent."""
    available_nanos: int
    """What the account has left to lease."""
    denied: bool
    # on the wire `cause`: version 0.1, which may run beside this one, has a flag by the other name
    frozen: FreezeCause | None = msgspec.field(name="cause")
    """Why the account leases nothing: the cause to report, if there are several."""
    unreached_nanos: int
    """When denied: unspent credit of other processes that have not answered the recall since the
    first denial, beyond what the account owes."""


class TickAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a tick. All its usage that isn't listed here is charged, now or earlier."""

    refused: list[str]
    """Requests whose lease is gone and whose account can't pay: no row was written."""
    written_off: list[str]
    """The same, but already answered: a row was written that charges nothing."""
    leases: list[LeaseAnswer]
    closed: list[str]
    """The mentioned leases that are no longer open."""
    recalled: list[str]
    """Accounts whose unused credit here must be returned, because another process needs it or
    because they are frozen. Frozen accounts are listed as long as the ledger sees any credit
    here."""
    free: dict[str, str] = {}
    """Requests that were not charged because an identical one already was, and that one."""


class Ledger(Protocol):
    """The source of truth for credit, as the data plane sees it."""

    async def tick(self, tick: Tick) -> TickAnswer:
        """Apply a tick, all or nothing.

        Raises LedgerUnavailable: the outcome is unknown; or LedgerRefused: nothing was applied, and
        the same tick would be refused again.
        """
        ...

    async def credit_back(self, line: UsageLine) -> int:
        """Credit back what a request was charged, once however often called; return how much.

        Its client was told that the charge is unknown. Nothing is credited if an identical request
        was free because of it. Raises LedgerUnavailable or LedgerRefused.
        """
        ...

    async def strangers(self, lines: Sequence[UsageLine]) -> set[str]:
        """Return which requests name a key or a price that the ledger does not know.

        It was restored to a moment before they were created. Raises LedgerUnavailable.
        """
        ...

    async def freeze(self, organization_id: str, reason: str) -> bool:
        """Freeze an organization whose ticks are refused, until an operator lifts it.

        Returns whether it was not frozen for that before. Raises LedgerUnavailable or
        LedgerRefused.
        """
        ...
