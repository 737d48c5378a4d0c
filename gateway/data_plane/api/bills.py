"""What a request costs, from the reservation before its work to the charge for its answer.

A response is charged when a client is there to receive it. If nobody is, its bill is kept: a retry
that fetches the response is charged, and otherwise the reservation expires.
"""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple, Self

from gateway.data_plane.api.exchange import head_lines
from gateway.data_plane.metering.port import AlreadyCharged, Charge, Credits
from gateway.observability import metrics


class Bill:
    """A charge. Its block does the work; if the block fails, the reservation is returned."""

    __slots__ = ("_balance_nanos", "_credit", "_paid", "charge", "is_abandoned")

    def __init__(self, credit: Credits, charge: Charge, paid: Paid | None = None) -> None:
        """`paid`: it was already paid, and is not charged again."""
        self._credit = credit
        self._paid = paid
        self._balance_nanos = 0
        self.charge = charge
        self.is_abandoned = False
        """Nobody waited when the work was done."""

    async def __aenter__(self) -> Self:
        if self.charge.trace is not None:
            self.charge.trace.step("reserve")
        if self._paid is None:
            self._balance_nanos = await self._credit.reserve(self.charge)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is not None and self._paid is None:
            await self._credit.release(self.charge)

    def keep(self, seconds: float) -> None:
        """Keep the reservation for a retry, for at most this long."""
        if self._paid is None:
            self._credit.keep(self.charge, seconds)

    async def resume(self) -> None:
        """Reserve the kept amount again. Raises what `Credits.reserve` raises."""
        if self._paid is None:
            self._balance_nanos = await self._credit.resume(self.charge)

    async def pay(self) -> Paid:
        """Charge it. Raises what `Credits.settle` raises."""
        if self._paid is not None:
            return self._paid
        charge = self.charge
        cost_nanos, original_id = charge.cost_nanos, None
        try:
            receipt = await self._credit.settle(charge)
        except AlreadyCharged as one:
            cost_nanos, original_id, receipt = 0, one.original_id, one.receipt
        headers = [
            ("x-cost-nanos", str(cost_nanos)),
            ("x-balance-nanos", str(self._balance_nanos + charge.cost_nanos - cost_nanos)),
        ]
        if receipt is not None:
            headers.append(("x-receipt", receipt))
        metrics.count_charge(charge.model_id, charge.tokens, cost_nanos)
        if charge.trace is not None:
            charge.trace.describe({"gateway.cost.nanos": cost_nanos})
        return Paid(head_lines(headers), original_id)

    def miss(self, seconds: float) -> None:
        """Make an identical request free for this long: nobody received what was paid for."""
        if self._paid is None:
            self._credit.undelivered(self.charge, seconds)


class Paid(NamedTuple):
    """What a response's headers say about its charge."""

    lines: bytes
    original_id: str | None = None
    """The request that was charged instead, if it was not this one."""
