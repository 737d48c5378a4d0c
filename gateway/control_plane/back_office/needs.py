"""What needs an operator in the back office itself: money orders that wait or failed."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step, tells
from gateway.control_plane.back_office import approvals
from gateway.money import money
from gateway.storage.tables import money_orders, organizations

_FAILED_FOR = timedelta(days=7)
"""How long a failed order is reported."""


@tells(f"A money order is waiting for a second operator, or failed within {_FAILED_FOR.days} days.")
async def orders(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell of each order that waits for a second operator, and of those that failed lately."""
    waiting = [
        Need(
            key=f"order:{one.id}",
            severity="warning",
            subject=one.organization,
            words=f"{money(one.amount_nanos)} ordered by {one.operator or 'a command'} is waiting "
            "for a second operator" + (", or for its day" if one.due_at else ""),
            since=one.created_at,
            steps=(
                Step("Decide", "/admin/approvals"),
                Step("Open", f"/admin/organizations/{one.organization_id}"),
            ),
        )
        for one in (await approvals.waiting(connection))[:NEEDS_MAX]
    ]
    table = money_orders.c
    failed = await connection.execute(
        select(table.id, table.organization_id, table.problem, table.decided_at, table.amount_nanos,
               organizations.c.name)
        .join(organizations, organizations.c.id == table.organization_id)
        .where(table.state == "failed", table.decided_at > now - _FAILED_FOR)
        .order_by(table.id.desc())
        .limit(NEEDS_MAX - len(waiting))
    )  # fmt: skip
    return waiting + [
        Need(
            key=f"order:{row.id}:failed",
            severity="warning",
            subject=row.name,
            words=f"a money order of {money(row.amount_nanos)} failed: {row.problem}",
            since=row.decided_at,
            steps=(Step("Open", f"/admin/organizations/{row.organization_id}"),),
        )
        for row in failed
    ]
