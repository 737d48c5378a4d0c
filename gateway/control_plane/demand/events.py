"""The funnel of demand: view, call, vote, waitlist, notified. Append-only, and counted in public.

Events older than the retention are folded into sums per month, so the funnel's numbers stay. What
happens after a launch (first call, first paid call) is read from usage and the ledger (`report`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Literal

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.identifiers import new_id
from gateway.storage.database import insert_into
from gateway.storage.tables import demand_events, demand_months, total

_VIEWED_MAX = 100_000

Kind = Literal["view", "call", "vote", "withdraw", "waitlist", "leave", "notified"]

_AT_ONCE = 10_000
_IN_ONE_STATEMENT = 1_000


class Event(msgspec.Struct, frozen=True):
    """Something that happened around a model, `count` times."""

    kind: Kind
    model_id: str
    organization_id: str | None = None
    count: int = 1


async def record(connection: AsyncConnection, *events: Event) -> None:
    """Append events."""
    now = wall.now()
    rows = [
        {"id": new_id(), "created_at": now, **msgspec.structs.asdict(event)} for event in events
    ]
    if rows:
        await connection.execute(insert(demand_events), rows)


async def funnel(connection: AsyncConnection, model_id: str) -> Mapping[str, int]:
    """Return how often each kind of event happened around a model, ever."""
    counts: Counter[str] = Counter()
    for table in (demand_events, demand_months):
        found = await connection.execute(
            select(table.c.kind, total(table.c.count))
            .where(table.c.model_id == model_id)
            .group_by(table.c.kind)
        )
        for kind, count in found:
            counts[kind] += count
    return counts


async def fold_old(connection: AsyncConnection, days: int) -> int:
    """Fold a batch of events older than `days` into their months' sums; return how many."""
    old = (
        select(demand_events.c.id)
        .where(demand_events.c.created_at < wall.now() - timedelta(days=days))
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
    for (model_id, kind, month), count in sorted(counted.items()):  # one locking order for all
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
