"""Money orders that wait for a second operator, or for a day if there is none.

An order is a row, carried out at once or waiting. It is carried out once, however often it is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office.orders import Order, decode, encode
from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import Operator
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id
from gateway.storage.clock import clock
from gateway.storage.database import alone
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import money_orders, organizations, total, users

WAIT = timedelta(hours=24)
"""How long an order waits if there is no one else to approve it."""
LISTED_MAX = 200
"""Most orders that are listed or done in one run."""

OrderState = Literal["waiting", "done", "rejected", "failed"]


class ApprovalNotFound(NotFound):
    """There is no such order."""

    code = "approval_not_found"


class AlreadyDecided(BadRequest):
    """Someone approved or rejected the order before."""

    status = 409
    code = "already_decided"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may move alone: at once, and in a UTC day; in nano-dollars."""

    alone_nanos: int
    day_nanos: int


class MoneyOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order and what became of it."""

    id: str
    organization_id: str
    organization: str
    order: Order
    amount_nanos: int
    operator_id: str | None
    operator: str | None
    reason: str
    state: OrderState
    created_at: datetime
    due_at: datetime | None
    problem: str


async def known(connection: AsyncConnection, order_id: str) -> MoneyOrder | None:
    """Return an order, or None; only one transaction at a time looks for the same id."""
    await alone(connection, f"money order {order_id}")
    row = (
        await connection.execute(_selection().where(money_orders.c.id == order_id))
    ).one_or_none()
    return _order(row) if row else None


async def add(
    connection: AsyncConnection,
    order_id: str,
    order: Order,
    operator: Operator,
    *,
    amount_nanos: int,
    state: OrderState = "done",
    reason: str = "",
    due_at: datetime | None = None,
) -> None:
    """Store an order that is done, or that waits."""
    await connection.execute(
        insert(money_orders).values(
            id=order_id,
            organization_id=order.organization_id,
            details=encode(order),
            amount_nanos=amount_nanos,
            operator_id=operator.user_id,
            reason=reason,
            state=state,
            created_at=clock(),
            due_at=due_at,
            problem="",
        )
    )


async def due_at(connection: AsyncConnection, operator: Operator) -> datetime | None:
    """Return when an order is done without a second operator; None if someone else may approve."""
    listed = await operators.listed(connection)
    if any(one.may("approve") and one.user_id != operator.user_id for one in listed):
        return None
    return await database_now(connection) + WAIT


async def must_wait(
    connection: AsyncConnection, operator: Operator, amount_nanos: int, rules: Rules
) -> bool:
    """Tell whether an operator may not move this much alone. Others of theirs then wait."""
    if operator.user_id is None:
        return False
    await alone(connection, f"money of {operator.user_id}")
    moved = await moved_today(connection, operator)
    return amount_nanos > rules.alone_nanos or moved + amount_nanos > rules.day_nanos


async def moved_today(connection: AsyncConnection, operator: Operator) -> int:
    """Return what an operator moved alone since midnight UTC."""
    midnight = datetime.combine((await database_now(connection)).date(), time(), UTC)
    table = money_orders.c
    alone_done = (table.state == "done") & table.decided_at.is_(None)
    return int(
        await connection.scalar(
            select(total(table.amount_nanos)).where(
                table.operator_id == operator.user_id, table.created_at >= midnight, alone_done
            )
        )
        or 0
    )


async def find(connection: AsyncConnection, order_id: str) -> MoneyOrder:
    """Return an order, as `known`. Raises ApprovalNotFound."""
    if not is_id(order_id):
        raise ApprovalNotFound("There is no such order.")
    found = await known(connection, order_id)
    if found is None:
        raise ApprovalNotFound("There is no such order.")
    return found


async def waiting(
    connection: AsyncConnection, *, are_due: bool = False, organization_id: str | None = None
) -> list[MoneyOrder]:
    """Return orders that wait, the oldest first: all, those due now, or an organization's."""
    query = _selection().where(money_orders.c.state == "waiting")
    if are_due:
        query = query.where(money_orders.c.due_at <= clock())
    if organization_id is not None:
        query = query.where(money_orders.c.organization_id == organization_id)
    found = await connection.execute(query.order_by(money_orders.c.id).limit(LISTED_MAX))
    return [_order(row) for row in found]


async def decide(
    connection: AsyncConnection,
    order_id: str,
    state: OrderState,
    *,
    decided_by: str | None = None,
    problem: str = "",
) -> None:
    """Store what became of an order that waited; its reason is in the trail from then on."""
    await connection.execute(
        update(money_orders)
        .where(money_orders.c.id == order_id)
        .values(
            state=state,
            decided_by=decided_by,
            decided_at=clock(),
            reason="",
            problem=problem,
        )
    )


def _selection() -> Select[Any]:
    return (
        select(
            money_orders,
            organizations.c.name.label("organization"),
            users.c.email.label("operator"),
        )
        .join(organizations, organizations.c.id == money_orders.c.organization_id)
        .join(users, users.c.id == money_orders.c.operator_id, isouter=True)
    )


def _order(row: Row[Any]) -> MoneyOrder:
    said = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    names = [name for name in MoneyOrder.__struct_fields__ if name != "order"]
    return MoneyOrder(order=decode(said["details"]), **{name: said[name] for name in names})
