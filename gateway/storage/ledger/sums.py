"""Opening sums: what deleted or never written rows contributed, so that the books still add up.

PostgreSQL's functions add a partition's contribution before they drop it:
migrations/sql/0023_sealed_sums.sql.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.tables import audit_sums

_ADD_GONE = text("""
WITH gone AS MATERIALIZED (
    SELECT *, substr(created_at, 1, 10) AS day FROM usage_events WHERE request_id < :before
)
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'opening', kind, id, sum(amount) FROM (
    SELECT 'lease' AS kind, lease_id AS id, charged_nanos AS amount FROM gone
    UNION ALL SELECT 'lease', budget_lease_id, charged_nanos FROM gone
    UNION ALL SELECT 'budget', budget_id, charged_nanos FROM gone
    UNION ALL SELECT 'requests', day, 1 FROM gone
    UNION ALL SELECT 'inputs', day, inputs FROM gone
    UNION ALL SELECT 'tokens', day, tokens FROM gone
    UNION ALL SELECT 'charged', day, charged_nanos FROM gone
) AS parts
WHERE id IS NOT NULL AND (kind <> 'lease' OR id IN (SELECT id FROM leases))
GROUP BY kind, id
ON CONFLICT (part, kind, id) DO UPDATE SET amount = amount + excluded.amount
""")
"""For SQLite: what `ledger_open_sums` does on PostgreSQL."""
_FORGET_LEASES = text(
    "DELETE FROM audit_sums WHERE kind IN ('lease', 'posted') "
    "AND id NOT IN (SELECT CAST(leases.id AS text) FROM leases)"
)


async def open_with(connection: AsyncConnection, kind: str, of: str, amount: int) -> None:
    """Add to an opening sum what no usage row shows, such as usage before there was a budget."""
    added = insert_into(connection, audit_sums).values(
        part="opening", kind=kind, id=of, amount=amount
    )
    more = audit_sums.c.amount + added.excluded.amount
    await connection.execute(
        added.on_conflict_do_update(index_elements=["part", "kind", "id"], set_={"amount": more})
    )


async def is_opened(connection: AsyncConnection, kind: str, of: str) -> bool:
    """Return whether there is such an opening sum."""
    part = audit_sums.c
    found = select(part.id).where(part.part == "opening", part.kind == kind, part.id == of)
    return await connection.scalar(found) is not None


async def add_gone(connection: AsyncConnection, before: str) -> None:
    """Add the contribution of usage before an id, which is about to be deleted; on SQLite."""
    await connection.execute(_ADD_GONE, {"before": before})


async def forget_leases(connection: AsyncConnection) -> None:
    """Forget the sums of leases that are gone."""
    await connection.execute(_FORGET_LEASES)


async def last_day_gone(connection: AsyncConnection) -> date | None:
    """Return the newest UTC day of which usage is gone."""
    query = select(func.max(audit_sums.c.id)).where(
        audit_sums.c.part == "opening", audit_sums.c.kind == "requests"
    )
    newest = await connection.scalar(query)
    return None if newest is None else datetime.fromisoformat(newest).date()
