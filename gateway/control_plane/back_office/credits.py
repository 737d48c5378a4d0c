"""Credit that operators grant and take back: the move itself, recorded in the audit trail.

Whether they may do it alone is decided above, in moves.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office.orders import GrantOrder, TakeOrder
from gateway.control_plane.billing import credit
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import record
from gateway.money import money
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import accounts


class Why(NamedTuple):
    """The order that moved credit, its reason, and which entry it undoes, if any."""

    order_id: str
    reason: str
    undoes: int | None = None


async def grant(connection: AsyncConnection, order: GrantOrder) -> bool:
    """Grant credit; return whether it was granted now. Raises GrantedOtherwise."""
    days = order.expires_days
    granted = await credit.grant(
        connection,
        order.organization_id,
        order.amount_nanos,
        kind=order.kind,
        source_ref=order.source_ref,
        expires_at=await database_now(connection) + timedelta(days=days) if days else None,
    )
    if not granted:
        await _check_same(connection, order)
    return granted


async def take(connection: AsyncConnection, order: TakeOrder, reason: str) -> bool:
    """Take credit back from a lot; return whether it was taken now. Raises BadRequest."""
    return await credit.take(
        connection,
        order.organization_id,
        order.lot_id,
        order.amount_nanos,
        reason=reason,
        ref=order.ref,
    )


async def record_grant(
    connection: AsyncConnection, operator: Operator, order: GrantOrder, why: Why
) -> None:
    """Record a grant that was just made."""
    said = {"kind": order.kind, "expires_days": order.expires_days}
    await _record(connection, operator, "credit.granted", order, said, why)


async def record_taking(
    connection: AsyncConnection, operator: Operator, order: TakeOrder, why: Why
) -> None:
    """Record that credit was just taken back."""
    said = {"lot": order.lot_id}
    await _record(connection, operator, "credit.taken", order, said, why)


async def balance_nanos(connection: AsyncConnection, organization_id: str) -> int:
    """Return an organization's balance by the ledger, negative for a debt."""
    has = accounts.c.available_nanos + accounts.c.leased_nanos - accounts.c.owed_nanos
    return int((await connection.scalar(select(has).where(accounts.c.id == organization_id))) or 0)


async def _record(
    connection: AsyncConnection,
    operator: Operator,
    action: str,
    order: GrantOrder | TakeOrder,
    said: dict[str, Any],
    why: Why,
) -> None:
    sign = 1 if isinstance(order, GrantOrder) else -1
    after = await balance_nanos(connection, order.organization_id)
    before = after - sign * order.amount_nanos
    await record(
        connection,
        operator.actor,
        action,
        f"organization:{order.organization_id}",
        organization_id=order.organization_id,
        before={"balance_nanos": before},
        after={
            "balance_nanos": after,
            "amount_nanos": order.amount_nanos,
            "order": why.order_id,
            **({"undoes": why.undoes} if why.undoes else {}),
            **said,
        },
        reason=why.reason,
    )


async def _check_same(connection: AsyncConnection, order: GrantOrder) -> None:
    """Check that a reference stands for the same grant. Raises GrantedOtherwise."""
    before = await credit.granted(connection, order.source_ref)
    wanted = credit.Granted(order.organization_id, order.amount_nanos, order.kind)
    if before is None or before == wanted:
        return
    name = await organizations.name_of(connection, before.organization_id)
    to = name
    if before.organization_id != order.organization_id:
        to = f"{name} ({before.organization_id})"
    raise credit.GrantedOtherwise(
        f"{order.source_ref!r} already granted {money(before.amount_nanos)} ({before.kind}) to "
        f"{to}; nothing was granted this time. Use another --ref for another grant."
    )
