"""Events of demand that are old, as sums by the month: the funnel's numbers stay, the rows go."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.tables import demand_events, demand_months

_AT_ONCE = 10_000
_IN_ONE_STATEMENT = 1_000


async def fold_old(connection: AsyncConnection, days: int) -> int:
    """Add some events older than so many days to their months' sums; return how many."""
    old = (
        select(demand_events.c.id)
        .where(demand_events.c.created_at < datetime.now(UTC) - timedelta(days=days))
        .order_by(demand_events.c.created_at)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ids = (await connection.scalars(old)).all()
    counted: Counter[tuple[str, str, str]] = Counter()
    for first in range(0, len(ids), _IN_ONE_STATEMENT):
        taken = await connection.execute(
            delete(demand_events)
            .where(demand_events.c.id.in_(ids[first : first + _IN_ONE_STATEMENT]))
            .returning(
                demand_events.c.model_id,
                demand_events.c.kind,
                demand_events.c.created_at,
                demand_events.c.count,
            )
        )
        for model_id, kind, created_at, count in taken:
            counted[model_id, kind, f"{created_at.astimezone(UTC):%Y-%m}"] += count
    for (model_id, kind, month), count in sorted(counted.items()):  # all lock in one order
        added = insert_into(connection, demand_months).values(
            model_id=model_id, kind=kind, month=month, count=count
        )
        await connection.execute(
            added.on_conflict_do_update(
                index_elements=["model_id", "kind", "month"],
                set_={"count": demand_months.c.count + count},
            )
        )
    return len(ids)
