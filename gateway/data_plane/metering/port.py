"""The port to credit: reserve before the work, settle after it, release if there was none.

The cost of embeddings is known before dispatch, so exactly what is reserved is charged, and a
balance can't go below zero. Every reservation ends in one `settle` or one `release`, or is kept and
expires; a dead process's reservation is released when its lease expires.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from gateway.errors import Forbidden, GatewayError, PaymentRequired, Unavailable

Period = Literal["month", "total"]
"""How long a key's budget lasts: a calendar month in UTC, or forever."""

FreezeCause = Literal["books", "operator", "dispute", "owing"]
"""Why an account leases no credit, in the order in which one of several is reported: an audit found
its books wrong or the ledger can't post its usage, an operator suspended it, a payment is disputed,
it owes."""

_REVIEW_SECONDS = 60.0
"""When to try again during a review, which only people can end."""


class Credits(Protocol):
    """Reserve, settle or release; and keep, for a response that waits for its retry."""

    async def reserve(self, charge: Charge) -> int:
        """Reserve the cost and return the organization's remaining balance, in nano-dollars.

        The balance is exact except for what other processes did since the ledger last answered.

        Raises InsufficientCredit (402), CreditUnavailable (503), or the error of a frozen account:
        AccountOwing, AccountDisputed (402), AccountSuspended (403) or AccountUnderReview (503).
        Then nothing is reserved.
        """
        ...

    async def settle(self, charge: Charge) -> str | None:
        """Charge what was reserved, and return its receipt once the usage row is durable.

        None: no receipts are made. Call it once for each reservation. Raises AlreadyCharged if an
        identical request was charged instead: this one's row charges nothing. Raises
        ReservationExpired (503) if the reservation is gone: nothing is charged. If neither the
        ledger nor the journal is available, the response must not be delivered: raises
        CreditUnavailable (503) if nothing was charged, ChargeUnknown (503) if something may have
        been, which is credited back then.
        """
        ...

    async def release(self, charge: Charge) -> None:
        """Give back what was reserved; never raises."""
        ...

    def keep(self, charge: Charge, seconds: float) -> None:
        """Keep what was reserved, at most this long, and only while its credit isn't needed."""
        ...

    async def resume(self, charge: Charge) -> int:
        """Reserve again what was kept; see `reserve`."""
        ...

    def undelivered(self, charge: Charge, seconds: float) -> None:
        """Make one identical request free, in any process: nobody received what was charged."""
        ...


class AlreadyCharged(Exception):
    """An identical request was charged, so this one was not."""

    def __init__(self, original_id: str, receipt: str | None) -> None:
        super().__init__(original_id)
        self.original_id = original_id
        """The one that was."""
        self.receipt = receipt
        """Of nothing."""


class InsufficientCredit(PaymentRequired):
    """The organization's credit does not cover the request."""


class BudgetExceeded(InsufficientCredit):
    """The key's own budget does not cover this request; your credit may."""

    code = "key_budget_exceeded"
    remedy = "Raise the key's budget in the console, use another key, or wait for next month."


class AccountOwing(PaymentRequired):
    """A payment was reversed after your organization had used its credit.

    The organization owes what its remaining credit does not cover.
    """

    code = "account_owing"
    remedy = "Add credit in the console: it first pays what is owed, and then requests work again."


class AccountDisputed(PaymentRequired):
    """A payment of your organization is disputed with the bank.

    Credit can be used again once the dispute is closed in our favor.
    """

    code = "account_disputed"
    remedy = "Withdraw the dispute at your bank, or write to us."


class AccountSuspended(Forbidden):
    """We have suspended your organization."""

    code = "account_suspended"
    remedy = "Write to us."


class AccountUnderReview(Unavailable):
    """Your organization's books don't add up, or what it uses can't be posted.

    Requests are stopped until we have fixed this, so that nothing is charged wrongly.
    """

    code = "account_under_review"
    remedy = "Try again later; we are working on it. Write to us if it lasts."


class CreditUnavailable(Unavailable):
    """Your credit can't be read at the moment."""

    code = "credit_unavailable"
    remedy = "Try again."

    def __init__(
        self,
        message: str = "Credit can't be checked right now; nothing was charged. Try again shortly.",
        **options: Any,
    ) -> None:
        super().__init__(message, **options)


class ChargeUnknown(Unavailable):
    """Your answer could not be delivered, and whether it was charged is not known yet.

    If it was, the charge is credited back by itself, usually within seconds.
    """

    code = "charge_unknown"
    remedy = "Try again. If the credit does not come back, write to us with the request id."

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"It is not known yet whether request {request_id} was charged; if it was, the "
            "charge is credited back automatically. Try again."
        )


class ReservationExpired(Unavailable):
    """The work took longer than your credit was reserved for it."""

    code = "reservation_expired"
    remedy = "Try again with a smaller request."

    def __init__(self) -> None:
        super().__init__("The request took too long; nothing was charged. Try again.")


FROZEN = (AccountOwing, AccountDisputed, AccountSuspended, AccountUnderReview)
"""What requests to frozen accounts get."""


def frozen_error(cause: FreezeCause) -> GatewayError:
    """Return the error for a request to a frozen account; nothing was charged."""
    match cause:
        case "owing":
            return AccountOwing(
                "A payment of your organization was reversed after its credit was used, so it "
                "owes the difference. Add credit in the console; it pays the debt first."
            )
        case "dispute":
            return AccountDisputed(
                "A payment of your organization is disputed, so its credit can't be used until the "
                "dispute is closed. Withdraw it at your bank, or write to us."
            )
        case "operator":
            return AccountSuspended("Your organization is suspended. Write to us.")
        case "books":
            return AccountUnderReview(
                "Your organization's books are under review, so its credit can't be used right "
                "now; nothing was charged. Try again later.",
                retry_after_seconds=_REVIEW_SECONDS,
            )


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
    print: str | None = None
    """What identifies the request among those of its key."""
    print_seconds: float | None = None
    """How long identical requests are free once this one is charged; None: they are not."""
    trace: Any = None
    """The request's Trace, if it is sampled: the tick that carries the charge is linked to it."""
