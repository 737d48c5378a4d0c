"""The funnel: view, call, vote, waitlist, notified; append-only, and counted in public.

Old events are kept as sums by the month (`months`). What happens after a launch (first call, first
paid call, tokens in 30 days) is in the sums of usage and in the ledger, and read from there
(`conversion`), not written twice.

Events of demand that are old, as sums by the month: the funnel's numbers stay, the rows go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.tallies import DemandTally, Tally
from gateway.identifiers import new_id
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import (
    demand_events,
    demand_months,
    demand_votes,
    total,
    waitlist_entries,
)

_VIEWED_MAX = 100_000

Kind = Literal["view", "call", "vote", "withdraw", "waitlist", "leave", "notified"]


class Interest:
    """What is known of the demand for each model: pages count and read in memory.

    `refresh` reads the public numbers again, `flush` writes down what was counted; both are jobs.
    """

    def __init__(self, database: Database, calls: DemandTally) -> None:
        self._database = database
        self._calls = calls
        self._views = Tally[str](entries_max=_VIEWED_MAX)
        self._votes: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    def votes(self, model_id: str) -> int:
        """Return the public number: votes of accounts whose address is verified."""
        return self._votes.get(model_id, 0)

    def waiting(self, model_id: str) -> int:
        """Return how many confirmed that they want to hear of the launch."""
        return self._waiting.get(model_id, 0)

    def all_votes(self) -> Mapping[str, int]:
        """Return the public numbers of all models."""
        return self._votes

    def viewed(self, model_id: str) -> None:
        """Count a view of a model's page."""
        self._views.add(model_id)

    async def flush(self) -> None:
        """Write down what was counted in memory; what can't be written is kept."""
        with self._views.draining() as views, self._calls.draining() as calls:
            rows = [_event("view", model_id, None, count) for model_id, count in views.items()]
            rows += [_event("call", *entry, count) for entry, count in calls.items()]
            if rows:
                async with self._database.write() as connection:
                    await connection.execute(insert(demand_events), rows)

    async def refresh(self) -> None:
        """Read the public numbers again."""
        async with self._database.read() as connection:
            self._votes = await _counts(connection, demand_votes)
            self._waiting = await _counts(connection, waitlist_entries)

    async def recount(self, connection: AsyncConnection, model_id: str) -> None:
        """Read one model's votes now: who just voted wants to see it."""
        self._votes[model_id] = int(
            await connection.scalar(
                select(func.count())
                .select_from(demand_votes)
                .where(demand_votes.c.model_id == model_id)
            )
            or 0
        )


async def record(
    connection: AsyncConnection,
    kind: Kind,
    model_id: str,
    organization_id: str | None = None,
    count: int = 1,
) -> None:
    """Append one event."""
    row = _event(kind, model_id, organization_id, count)
    await connection.execute(insert(demand_events), [row])


async def funnel(connection: AsyncConnection, model_id: str) -> Mapping[str, int]:
    """Return how often each thing happened around a model, ever."""
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


def _event(kind: Kind, model_id: str, organization_id: str | None, count: int) -> dict[str, object]:
    return {
        "id": new_id(),
        "kind": kind,
        "model_id": model_id,
        "organization_id": organization_id,
        "count": count,
        "created_at": datetime.now(UTC),
    }


async def _counts(connection: AsyncConnection, table: Table) -> dict[str, int]:
    found = await connection.execute(
        select(table.c.model_id, func.count()).group_by(table.c.model_id)
    )
    return {row[0]: row[1] for row in found}


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
