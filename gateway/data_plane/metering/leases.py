"""Credit that this process holds: leases, their purses, and requests waiting for more.

What a lease was granted is always the sum of `spent` (settled here, whether or not the ledger knows
it), `reserved` (requests in progress) and `free`. Only the ledger raises the grant; what is
returned leaves `free` before the tick is sent, so no interleaving can spend it twice.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.data_plane.metering.messages import LeaseAnswer, UsageLine
from gateway.data_plane.metering.port import (
    BudgetExceeded,
    Charge,
    CreditUnavailable,
    InsufficientCredit,
    Period,
    frozen_error,
)
from gateway.data_plane.metering.receipts import Batch
from gateway.errors import GatewayError

if TYPE_CHECKING:  # where traces are off, nothing of them is imported
    from gateway.observability.tracing import Trace

NEVER: Final = float("-inf")


class LeaseRules(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of the lease protocol; seconds are those of the book's clock."""

    lease_seconds: float = 90.0
    """How long the ledger keeps the lease of a silent process."""
    margin_seconds: float = 10.0
    """How much earlier the process stops using it."""
    renew_seconds: float = 30.0
    """A lease with less time than this before its deadline is renewed."""
    idle_seconds: float = 10.0
    """A lease unused for this long is given back."""
    slice_nanos: int = 2_000_000
    """The first slice; it doubles when more is needed within a second."""
    slice_nanos_max: int = 1_000_000_000
    """The largest slice, and so the most that a dead process withholds until its lease expires."""
    recall_seconds: float = 1.0
    """The longest time that a request waits for other processes to answer a recall. A living
    process answers within a heartbeat, and the wait ends once all have answered."""
    retry_seconds: float = 0.02
    """How long to wait after a denial before asking the ledger again."""
    heartbeat_seconds: float = 0.1
    """How often a process that holds leases checks whether they are recalled."""
    usage_per_tick_max: int = 2_000
    """Most usage rows in one tick."""
    leases_per_tick_max: int = 500
    """Most lease lines, and most renewals, in one tick."""
    outbox_max: int = 500_000
    """Most settled requests that the ledger has not confirmed; beyond it requests get 503."""
    undelivered_max: int = 10_000
    """Most charged responses that reached nobody and that the ledger doesn't know about yet."""
    undelivered_own_max: int = 2_500
    """Most of them of one organization: a quarter."""
    waiters_max: int = 1_024
    """Most requests waiting on one purse; further ones get 503."""


@dataclass(slots=True, eq=False)
class Lease:
    """A part of an account's credit that only this process may spend, until a deadline."""

    id: str
    purse: Purse
    open: bool = False
    """Whether the ledger has opened it."""
    free: int = 0
    reserved: int = 0
    spent: int = 0
    unacknowledged: int = 0
    """Settled requests that the ledger has not confirmed."""
    deadline: float = NEVER

    @property
    def idle(self) -> bool:
        """Whether no request and no unconfirmed usage depends on it."""
        return self.reserved == 0 and self.unacknowledged == 0

    def adopt(self, granted_nanos: int) -> None:
        """Set `free` from what the ledger says was granted."""
        self.free = granted_nanos - self.spent - self.reserved
        assert self.free >= 0, "the ledger took back what was in use"


@dataclass(slots=True, eq=False)
class Purse:
    """What this process holds of one account: an organization's, or a key's budget."""

    account_id: str
    organization_id: str
    key_id: str | None
    period: str | None
    slice_nanos: int
    lease: Lease | None = None
    waiters: deque[Waiter] = field(default_factory=deque)
    available_nanos: int = 0
    """What the account had left when the ledger last answered."""
    asked_at: float = NEVER
    ask_again_at: float = NEVER
    used_at: float = NEVER
    prefetch_at: float = NEVER
    kept_at: float = NEVER
    low_water_nanos: int = field(init=False)

    def __post_init__(self) -> None:
        self.low_water_nanos = self.slice_nanos // 3

    @property
    def balance_nanos(self) -> int:
        """The balance, as far as this process knows."""
        return self.available_nanos + (self.lease.free if self.lease else 0)

    def serve(self, now: float) -> bool:
        """Serve the waiters in order; return whether all were served."""
        lease = self.lease
        if lease is not None and lease.open and now < lease.deadline:
            while self.waiters and self.waiters[0].cost_nanos <= lease.free:
                self.waiters.popleft().serve(lease)
                self.used_at = now
        return not self.waiters

    def denial(self, cost_nanos: int, told: LeaseAnswer) -> GatewayError:
        """Return the error for a request that the ledger's last answer does not cover."""
        left = told.available_nanos
        if told.frozen and self.key_id is None:
            return frozen_error(told.frozen)
        if told.frozen:  # a budget below what was spent before it was set
            left = 0
        elif left + told.unreached_nanos >= cost_nanos:
            return CreditUnavailable(
                "Another gateway process holds the credit that this request needs and is not "
                "responding. Nothing was charged. The credit returns by itself; try again "
                "shortly.",
                retry_after_seconds=5.0,
            )
        if self.key_id is not None:
            return BudgetExceeded(
                f"This request costs {cost_nanos} nano-dollars and the key's own budget has {left} "
                "left. Raise the budget or use another key."
            )
        return InsufficientCredit(
            f"This request costs {cost_nanos} nano-dollars and the organization has {left} left. "
            "Add credit in the console, then try again."
        )


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that needs more than its purse holds; `done` is called once, served or refused."""

    purse: Purse
    cost_nanos: int
    done: Callable[[], None]
    denied_at: float | None = None
    lease: Lease | None = None
    error: GatewayError | None = None

    def serve(self, lease: Lease) -> None:
        """Reserve its cost from a lease, and end the wait."""
        lease.free -= self.cost_nanos
        lease.reserved += self.cost_nanos
        self.lease = lease
        self.done()

    def refuse(self, error: GatewayError) -> None:
        """End the wait with an error."""
        self.error = error
        self.done()


@dataclass(slots=True, eq=False)
class Settlement:
    """A settled request on its way to the ledger."""

    request_id: str
    cost_nanos: int
    line: UsageLine
    queued_at: float = NEVER
    lease: Lease | None = None
    """None when replayed from a journal: an earlier process held it."""
    budget: Lease | None = None
    sent: bool = False
    """Whether the ledger may have received it."""
    uncertain: bool = False
    """Whether a tick with it went unanswered, and may still arrive and charge it."""
    answered: bool = False
    """Whether it is in a journal, so that the client may have its answer."""
    segment: Path | None = None
    """The journal segment that holds it."""
    pending: bool = True
    """Whether the ledger has yet to confirm or refuse it."""
    unknown: bool = False
    """Whether its client was told that the charge is unknown, and it is not credited back yet."""
    error: GatewayError | None = None
    original_id: str | None = None
    """The identical request that was charged instead."""
    done: Callable[[], None] | None = None
    """Called when it is durable or refused."""
    leaf: tuple[Batch, int] | None = None
    """Where its receipt is in the tree of its tick."""
    trace: Trace | None = None
    """The request's, if it is sampled."""
    _raw: msgspec.Raw | None = None

    def encoded(self) -> msgspec.Raw:
        """Return its usage line as JSON, encoded once for the journal and the ledger."""
        if self._raw is None:
            self._raw = msgspec.Raw(msgspec.json.encode(self.line))
        return self._raw

    def finish(self, error: GatewayError | None = None) -> None:
        """Wake the request that waits for it."""
        self.error = error
        if self.done:
            done, self.done = self.done, None
            done()


class Undelivered(msgspec.Struct, frozen=True, gc=False):
    """A charged request whose response reached nobody, and until when an identical one is free."""

    charge: Charge
    until: float


class Hold(msgspec.Struct, frozen=True, gc=False):
    """A reservation: the charge, and the leases that pay for it."""

    charge: Charge
    lease: Lease
    budget: Lease | None = None

    @property
    def account_ids(self) -> list[str]:
        """The accounts that pay."""
        return [lease.purse.account_id for lease in (self.lease, self.budget) if lease]


def budget_id(key_id: str, period: str) -> str:
    """Return the id of the account of a key's budget in a period, as `period_at` names it."""
    return str(uuid.uuid5(uuid.UUID(key_id), period))


def period_at(period: Period, moment_ms: int) -> str:
    """Name the period of a moment (Unix milliseconds): `total`, or a month of UTC, `2026-11`."""
    if period == "total":
        return period
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m")
