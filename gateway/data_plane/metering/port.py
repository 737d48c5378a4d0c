"""The port to credit: reserve before the work, settle after it, release if there was none.

The cost of embeddings is known before dispatch, so exactly what is reserved is charged, and a
balance can't go below zero. Every reservation ends in one `settle` or one `release`; that of a dead
process is released when its lease expires.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from gateway.errors import PaymentRequired, Unavailable

Period = Literal["month", "total"]
"""How long a key's budget lasts: a calendar month in UTC, or forever."""


class Credits(Protocol):
    """Three methods, with every outcome of each."""

    async def reserve(self, charge: Charge) -> int:
        """Reserve the cost and return the organization's remaining balance, in nano-dollars.

        The balance is exact but for what other processes did since the ledger last answered.

        Raises InsufficientCredit (402) or CreditUnavailable (503); then nothing is reserved.
        """
        ...

    async def settle(self, charge: Charge) -> None:
        """Charge what was reserved, and return once the usage row is durable.

        Call it once for each reservation. Raises ReservationExpired (503) if the reservation is
        gone: nothing is charged. Raises CreditUnavailable (503) if neither the ledger nor the
        journal is available: the answer must not be delivered.
        """
        ...

    async def release(self, charge: Charge) -> None:
        """Give back what was reserved; never raises."""
        ...


class InsufficientCredit(PaymentRequired):
    """The organization's credit does not cover the request."""


class BudgetExceeded(InsufficientCredit):
    """The key's own budget does not cover this request; your credit may."""

    code = "key_budget_exceeded"
    remedy = "Raise the key's budget in the console, use another key, or wait for next month."


class CreditUnavailable(Unavailable):
    """Your credit can't be read at the moment."""

    code = "credit_unavailable"
    remedy = "Try again."

    def __init__(
        self,
        message: str = "Credit can't be checked at the moment; nothing was charged. "
        "Try again shortly.",
        **options: Any,
    ) -> None:
        super().__init__(message, **options)


class ReservationExpired(Unavailable):
    """The work took longer than your credit was reserved for it."""

    code = "reservation_expired"
    remedy = "Try again with a smaller request."

    def __init__(self) -> None:
        super().__init__("The request took too long; nothing was charged. Try again.")


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one request costs and who pays: its future usage row, complete before dispatch."""

    request_id: str
    """UUIDv7; a request is charged at most once."""
    organization_id: str
    key_id: str
    model_id: str
    price_id: str
    inputs: int
    tokens: int
    cost_nanos: int
    budget: Period | None = None
    """The period of the key's own budget, if it has one."""
