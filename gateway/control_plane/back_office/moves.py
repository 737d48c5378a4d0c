"""Money that operators move: grants, deductions, refunds, undoing, all under the same rules.

- It needs the permission for money, and a reason.
- An order is done once, however often it is sent: its id names it.
- Anything above what an operator may move alone waits for a second operator, or for 24 hours if
  nobody else may approve. Nobody approves their own orders.
- The movement, its entry in the audit trail and the email about it are one transaction. Only Stripe
  is asked for a refund afterward.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting, approvals, refunds, undoing
from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.approvals import AlreadyDecided, MoneyOrder, Rules
from gateway.control_plane.back_office.credits import Why, grant, record_grant, record_taking, take
from gateway.control_plane.back_office.orders import (
    GrantOrder,
    Order,
    PlainOrder,
    TakeOrder,
    UndoOrder,
)
from gateway.control_plane.operators.operators import NotPermitted, Operator
from gateway.control_plane.payments.payments import CENT_NANOS
from gateway.control_plane.payments.refunds import Refund, Refunds
from gateway.control_plane.trail.entries import SYSTEM, record
from gateway.errors import GatewayError
from gateway.storage.database import Database

log = structlog.get_logger()


class MoveOutcome(NamedTuple):
    """The outcome of an order: done, already done (repeated), or what it is waiting for."""

    state: Literal["done", "repeated", "waiting", "rejected", "failed"]
    amount_nanos: int
    order_id: str
    due_at: datetime | None = None
    """When a waiting order is done without a second operator; None: it waits for one."""
    refund: Refund | None = None


class Moved(NamedTuple):
    """What a move did; `is_new` is False if it was done before."""

    order: PlainOrder
    """What an order came to: of an undoing, the reversal."""
    is_new: bool
    amount_nanos: int
    refund: Refund | None = None


class Moves:
    """Moves money for operators; `run` is a job that does what has waited long enough."""

    def __init__(
        self, database: Database, sold: Refunds | None, mails: AccountMails, rules: Rules
    ) -> None:
        self._database = database
        self._refunds = sold
        self.mails = mails
        self.rules = rules

    async def order(
        self, operator: Operator, order: Order, *, order_id: str, reason: str
    ) -> MoveOutcome:
        """Move money, or let it wait. Raises NotPermitted, or BadRequest for what can't be done."""
        operator.must("money")
        reason = acting.checked(operator, reason, param="words")
        async with self._database.write() as connection:
            outcome = await self._order(connection, operator, order, order_id, reason)
        return await self._carried_out(outcome)

    async def approve(self, operator: Operator, order_id: str) -> MoveOutcome:
        """Carry out another's order. Raises NotPermitted, AlreadyDecided, BadRequest."""
        operator.must("approve")
        async with self._database.write() as connection:
            known = await self._waiting(connection, order_id)
            if known.operator_id is not None and known.operator_id == operator.user_id:
                raise NotPermitted("You ordered this, so someone else must approve it.")
            moved = await self._do(connection, known, decided_by=operator.user_id)
            await record(
                connection,
                operator.actor,
                "approval.given",
                f"approval:{order_id}",
                after={"ordered_by": known.operator_id},
            )
        done = MoveOutcome("done", moved.amount_nanos, order_id, refund=moved.refund)
        return await self._carried_out(done)

    async def reject(self, operator: Operator, order_id: str, *, reason: str) -> None:
        """Reject what another operator ordered, or withdraw one's own order."""
        reason = acting.checked(operator, reason, param="words")
        async with self._database.write() as connection:
            known = await self._waiting(connection, order_id)
            if known.operator_id != operator.user_id:
                operator.must("approve")
            await approvals.decide(connection, order_id, "rejected", decided_by=operator.user_id)
            await record(
                connection,
                operator.actor,
                "approval.rejected",
                f"approval:{order_id}",
                after={"ordered_by": known.operator_id},
                reason=reason,
            )

    async def run(self) -> None:
        """Carry out the orders that have waited for 24 hours; one that can't be done fails."""
        async with self._database.read() as connection:
            due = await approvals.waiting(connection, are_due=True)
        for known in due:
            try:
                await self._do_due(known.id)
            except GatewayError as error:
                log.error("an order of money failed", order=known.id, reason=error.message)
                async with self._database.write() as connection:
                    await approvals.decide(connection, known.id, "failed", problem=error.message)

    async def moved(self, connection: AsyncConnection, order: Order, reason: str) -> Moved:
        """Move the money itself, without a check, a record or a mail: also for a preview."""
        if isinstance(order, UndoOrder):
            order = await undoing.reversal(connection, order)
        if isinstance(order, GrantOrder):
            return Moved(order, await grant(connection, order), order.amount_nanos)
        if isinstance(order, TakeOrder):
            return Moved(order, await take(connection, order, reason), order.amount_nanos)
        refund = await refunds.ask(connection, self._refunds, order, reason)
        return Moved(order, not refund.is_repeated, refund.amount_cents * CENT_NANOS, refund)

    async def _order(
        self,
        connection: AsyncConnection,
        operator: Operator,
        order: Order,
        order_id: str,
        reason: str,
    ) -> MoveOutcome:
        known = await approvals.known(connection, order_id)
        if known is not None and known.order == order:
            state: Any = "repeated" if known.state == "done" else known.state
            return MoveOutcome(state, known.amount_nanos, order_id, known.due_at)
        async with connection.begin_nested() as attempt:
            moved = await self.moved(connection, order, reason)
            waits = await approvals.must_wait(connection, operator, moved.amount_nanos, self.rules)
            if known is not None or waits or not moved.is_new:
                await attempt.rollback()
        if not moved.is_new:
            return MoveOutcome("repeated", moved.amount_nanos, order_id, refund=moved.refund)
        if known is not None:
            raise AlreadyDecided("This form or reference was used to order something else.")
        if waits:
            return await self._wait(connection, operator, order, order_id, moved, reason)
        await approvals.add(connection, order_id, order, operator, amount_nanos=moved.amount_nanos)
        await self._note(connection, operator, order, order_id, moved, reason)
        return MoveOutcome("done", moved.amount_nanos, order_id, refund=moved.refund)

    async def _wait(
        self,
        connection: AsyncConnection,
        operator: Operator,
        order: Order,
        order_id: str,
        moved: Moved,
        reason: str,
    ) -> MoveOutcome:
        nanos = moved.amount_nanos
        due_at = await approvals.due_at(connection, operator)
        await approvals.add(
            connection,
            order_id,
            order,
            operator,
            amount_nanos=nanos,
            state="waiting",
            reason=reason,
            due_at=due_at,
        )
        await record(
            connection,
            operator.actor,
            "approval.requested",
            f"approval:{order_id}",
            after={
                "organization": order.organization_id,
                "amount_nanos": nanos,
                "waits": "24 hours" if due_at else "approval",
            },
            reason=reason,
        )
        return MoveOutcome("waiting", nanos, order_id, due_at)

    async def _do_due(self, order_id: str) -> None:
        async with self._database.write() as connection:
            known = await self._waiting(connection, order_id)
            moved = await self._do(connection, known, decided_by=None)
            await record(
                connection,
                SYSTEM,
                "approval.awaited",
                f"approval:{order_id}",
                after={"ordered_by": known.operator_id},
            )
        await self._carried_out(
            MoveOutcome("done", moved.amount_nanos, order_id, None, moved.refund)
        )

    async def _do(
        self, connection: AsyncConnection, known: MoneyOrder, *, decided_by: str | None
    ) -> Moved:
        """Carry out a waiting order for the operator who placed it and must still be allowed."""
        operator = await acting.of_user(connection, known.operator_id)
        if operator is None or not operator.may("money"):
            raise NotPermitted("The operator who ordered this may no longer move money.")
        moved = await self.moved(connection, known.order, known.reason)
        await approvals.decide(connection, known.id, "done", decided_by=decided_by)
        if moved.is_new:
            await self._note(connection, operator, known.order, known.id, moved, known.reason)
        return moved

    async def _waiting(self, connection: AsyncConnection, order_id: str) -> MoneyOrder:
        known = await approvals.find(connection, order_id)
        if known.state != "waiting":
            raise AlreadyDecided(f"This order is {known.state}: someone else already decided it.")
        return known

    async def _note(
        self,
        connection: AsyncConnection,
        operator: Operator,
        order: Order,
        order_id: str,
        moved: Moved,
        reason: str,
    ) -> None:
        """Write the mail, and the trail last."""
        done, undoes = moved.order, order.entry_id if isinstance(order, UndoOrder) else None
        why = Why(order_id, reason, undoes)
        await self.mails.moved(connection, done, moved.amount_nanos, order_id)
        if isinstance(done, GrantOrder):
            await record_grant(connection, operator, done, why)
        elif isinstance(done, TakeOrder):
            await record_taking(connection, operator, done, why)
        else:
            assert moved.refund is not None
            await refunds.record_refund(connection, operator, done, moved.refund, reason, order_id)

    async def _carried_out(self, outcome: MoveOutcome) -> MoveOutcome:
        """Ask Stripe for the refund of a move that was done, after its transaction."""
        if outcome.refund is None or self._refunds is None:
            return outcome
        return outcome._replace(refund=await self._refunds.carry_out(outcome.refund))
