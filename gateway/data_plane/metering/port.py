"""The money port: reserve before the work, settle after it, release when there was none.

For embeddings the cost is known before dispatch, so what is reserved is exactly what is charged,
and a balance can't go below zero. Every reservation ends in one `settle` or one `release`; one
whose process died is released when its deadline has passed.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from gateway.errors import PaymentRequired, Unavailable

Period = Literal["month", "total"]
"""How long a key's budget lasts: a calendar month of UTC, or for ever."""


class InsufficientCredit(PaymentRequired):
    """The organization's credit does not cover the request."""


class BudgetExceeded(InsufficientCredit):
    """The key's own budget does not cover the request."""

    code = "key_budget_exceeded"


class CreditUnavailable(Unavailable):
    """The ledger can't be reached, or credit elsewhere does not come back in time."""

    code = "credit_unavailable"

    def __init__(
        self,
        message: str = "Credit can't be checked at the moment; nothing was charged. "
        "Try again shortly.",
        **options: Any,
    ) -> None:
        super().__init__(message, **options)


class ReservationExpired(Unavailable):
    """The request outlived its lease, and with it the reserved credit."""

    code = "reservation_expired"

    def __init__(self) -> None:
        super().__init__("The request took too long; nothing was charged. Try again.")


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one request costs and whom: the usage row to be, complete before dispatch."""

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
    """Whether the key has a budget of its own, and for how long at a time."""


class Credits(Protocol):
    """Three methods, and every way that each can end."""

    async def reserve(self, charge: Charge) -> int:
        """Set the cost aside and return the organization's balance that is left, in nano-dollars.

        It is exact but for what other processes did since the last word from the ledger.

        Raises InsufficientCredit (402), or CreditUnavailable (503). On any error nothing is held.
        """
        ...

    async def settle(self, charge: Charge) -> None:
        """Charge what was reserved, and return only when the usage row is durable.

        Call it once for each reservation. Raises ReservationExpired (503) when nothing is reserved
        any more: nothing is charged. Raises CreditUnavailable (503) when neither the ledger nor the
        journal can be had; deliver nothing then.
        """
        ...

    async def release(self, charge: Charge) -> None:
        """Give back what was reserved.

        Never raises: what can't be released now is released when its deadline has passed.
        """
        ...
