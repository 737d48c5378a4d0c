"""Why a request gets no credit, in words for the client."""

from __future__ import annotations

from gateway.data_plane.metering.leases import Purse
from gateway.data_plane.metering.messages import LeaseAnswer
from gateway.data_plane.metering.port import (
    BudgetExceeded,
    CreditUnavailable,
    InsufficientCredit,
    ReservationExpired,
)
from gateway.errors import GatewayError


def denial(purse: Purse, cost_nanos: int, told: LeaseAnswer) -> GatewayError:
    """Return the error for a request that the ledger's last word does not cover."""
    left = told.available_nanos
    if told.frozen and purse.key_id is not None:  # a budget below what was spent before it was set
        return _exceeded(cost_nanos, 0)
    if told.frozen:
        return InsufficientCredit(
            "The organization's credit is frozen, because a payment went back. Pay what is owed, "
            "then try again."
        )
    if left + told.unreached_nanos >= cost_nanos:
        return CreditUnavailable(
            "Another gateway process holds the credit that this request needs and does not answer. "
            "Nothing was charged; it returns by itself, try again shortly.",
            retry_after_seconds=5.0,
        )
    if purse.key_id is not None:
        return _exceeded(cost_nanos, left)
    return InsufficientCredit(
        f"This request costs {cost_nanos} nano-dollars and the organization has {left} left. "
        "Ask for more credit, then try again; the console shows the balance."
    )


def _exceeded(cost_nanos: int, left: int) -> BudgetExceeded:
    return BudgetExceeded(
        f"This request costs {cost_nanos} nano-dollars and the key's own budget has {left} "
        "left. Raise the budget or use another key."
    )


def unavailable() -> CreditUnavailable:
    """Return the error for a request that needs the ledger while it can't be reached."""
    return CreditUnavailable(
        "Credit can't be checked at the moment; nothing was charged. Try again shortly."
    )


def expired() -> ReservationExpired:
    """Return the error for a request that outlived its lease, and the credit with it."""
    return ReservationExpired("The request took too long; nothing was charged. Try again.")
