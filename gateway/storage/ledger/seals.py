"""How far the books were audited: an audit reads what came after, and sealed sums for the rest.

A seal is strict: every row up to its positions is committed, and no more can come. So `reach` takes
the positions first, and then waits for current writers; nobody waits for it. Usage is sealed in the
order in which it arrived, and its hours when they are over; late usage has its hour checked again.

On SQLite nothing is sealed: its books are small, and each audit reads all of them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.ledger import postings
from gateway.storage.tables import audit_sums
from gateway.storage.tables.types import Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_HOUR_IS_OVER = timedelta(minutes=15)
"""How long after its end an hour is sealed; usage is in the ledger within seconds."""
_HOURS_AT_ONCE = 48
_LATE_HOURS_MAX = 1_000
_LEASES_OVERLAP = timedelta(minutes=5)
"""Leases are found by when they were opened, which may be committed up to this much later."""
_WAIT_SECONDS = 15.0
_POLL_SECONDS = 0.02


class Reach(NamedTuple):
    """Up to where the books are sealed."""

    entries: int
    """Number of the last entry."""
    usage: int
    """Position of the last row of usage."""
    hours: datetime
    """The hours of usage before this one."""
    leases: datetime
    """Leases opened since then are checked, however short they were."""


async def sealed(connection: AsyncConnection) -> Reach | None:
    """Return how far the books are sealed; None where they aren't."""
    found = await connection.execute(
        select(audit_sums.c.id, audit_sums.c.amount).where(
            audit_sums.c.part == "sealed", audit_sums.c.kind == "position"
        )
    )
    at = {row.id: row.amount for row in found}
    if not at:
        return None
    return Reach(
        at["ledger_entries"],
        at["usage_events"],
        _EPOCH + timedelta(seconds=at["usage_hours"]),
        _EPOCH + timedelta(seconds=at["leases"]),
    )


async def reach(connection: AsyncConnection, before: Reach | None) -> Reach | None:
    """Return how far the books can be sealed now; None where they can't, or nobody stops writing.

    It ends its transactions: an older snapshot would not see what it waited for.
    """
    if connection.dialect.name == "sqlite":
        return None
    await connection.execute(_SUMMARIZE)
    await connection.commit()
    now = await postings.database_now(connection)
    entries, usage = (await connection.execute(_POSITIONS)).one()
    writing = list(await connection.scalars(_WRITING))
    await connection.rollback()
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            while await connection.scalar(_STILL_WRITING, {"writing": writing}):
                await connection.rollback()
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return None
    finally:
        await connection.rollback()
    over = (now - _HOUR_IS_OVER).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    # of the first seal's hours all are looked at
    latest = over if before is None else min(over, before.hours + _HOURS_AT_ONCE * _HOUR)
    hours = latest if before is None else max(latest, before.hours)
    return Reach(entries, usage, hours, now.replace(microsecond=0) - _LEASES_OVERLAP)


async def hours_between(
    connection: AsyncConnection, before: Reach, upto: Reach, kept: datetime
) -> list[datetime]:
    """Return the hours of usage to look at: those that are over since, and those of late usage."""
    late = await connection.scalars(_LATE_HOURS, {"usage": before.usage, "hours": before.hours})
    hours = set(late)
    hour = max(before.hours, kept)
    while hour < upto.hours:
        hours.add(hour)
        hour += _HOUR
    return sorted(one for one in hours if one >= kept)


async def seal(connection: AsyncConnection, before: Reach | None, upto: Reach) -> None:
    """Seal the books up to there: add what came since to the sums."""
    if before is None:
        await connection.execute(delete(audit_sums).where(audit_sums.c.part == "sealed"))
    since = "position > :usage" if before else "true"  # old rows have no position
    usage = text(_SEAL_USAGE.format(since=since, add=_ADD))
    await connection.execute(
        _SEAL_ENTRIES, {"entries": before.entries if before else 0, "upto": upto.entries}
    )
    await connection.execute(
        usage, {"upto": upto.usage} | ({"usage": before.usage} if before else {})
    )
    await connection.execute(_SEAL_LEASES)
    for table, position in (
        ("ledger_entries", upto.entries),
        ("usage_events", upto.usage),
        ("usage_hours", int((upto.hours - _EPOCH).total_seconds())),
        ("leases", int((upto.leases - _EPOCH).total_seconds())),
    ):
        at = {"part": "sealed", "kind": "position", "id": table, "amount": position}
        stored = insert_into(connection, audit_sums).values(at)
        await connection.execute(
            stored.on_conflict_do_update(
                index_elements=["part", "kind", "id"], set_={"amount": position}
            )
        )


async def forget_closed(connection: AsyncConnection, upto: Reach) -> None:
    """Forget the sums of leases that were closed when they were found in order.

    Those that were opened since `upto.leases` are looked at once more.
    """
    await connection.execute(_FORGET_CLOSED, {"leases": upto.leases})


_SUMMARIZE = text("SELECT ledger_summarize()")
_POSITIONS = text("""
SELECT coalesce((SELECT max(id) FROM ledger_entries), 0),
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM usage_events_position)""")
# who writes locks the table before it takes a number, until it ends
_WRITING = text("""
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relation IN ('ledger_entries'::regclass, 'usage_events'::regclass)""")
_STILL_WRITING = text("""
SELECT EXISTS (SELECT FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
        AND relation IN ('ledger_entries'::regclass, 'usage_events'::regclass)
        AND virtualtransaction = ANY(CAST(:writing AS text[])))""")
_LATE_HOURS = text(f"""
SELECT DISTINCT date_trunc('hour', created_at, 'UTC') AS hour FROM usage_events
WHERE position > :usage AND created_at < :hours LIMIT {_LATE_HOURS_MAX}""").columns(hour=Instant())
_ADD = """
ON CONFLICT (part, kind, id) DO UPDATE SET amount = audit_sums.amount + excluded.amount"""
_SEAL_ENTRIES = text(f"""
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'sealed', kind, id, sum(amount) FROM (
    SELECT of.kind, of.id, sum(of.amount) AS amount
    FROM ledger_entries CROSS JOIN LATERAL (VALUES
        ('balance', CAST(organization_id AS text), amount_nanos),
        ('used', CASE WHEN kind = 'usage' THEN CAST(organization_id AS text) END, -amount_nanos),
        ('platform', counterpart, -amount_nanos),
        ('posted', CASE WHEN kind = 'usage' AND length(ref) > 36 THEN left(ref, 36) END,
            -amount_nanos)) AS of(kind, id, amount)
    WHERE ledger_entries.id > :entries AND ledger_entries.id <= :upto
    GROUP BY of.kind, of.id) AS sums
WHERE id IS NOT NULL AND (kind <> 'posted' OR id IN (SELECT CAST(leases.id AS text) FROM leases))
GROUP BY kind, id {_ADD}""")
_SEAL_USAGE = """
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'sealed', kind, id, sum(amount) FROM (
    SELECT of.kind, CAST(of.id AS text) AS id, sum(of.amount) AS amount
    FROM usage_events CROSS JOIN LATERAL (VALUES
        ('lease', lease_id, charged_nanos), ('lease', budget_lease_id, charged_nanos),
        ('budget', budget_id, charged_nanos)) AS of(kind, id, amount)
    WHERE {since} AND coalesce(position, 0) <= :upto AND of.id IS NOT NULL
    GROUP BY of.kind, of.id) AS sums
WHERE kind <> 'lease' OR id IN (SELECT CAST(leases.id AS text) FROM leases)
GROUP BY kind, id {add}"""
# an open lease is looked at until it was found in order when it was closed
_SEAL_LEASES = text("""
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'sealed', 'lease', CAST(id AS text), 0 FROM leases WHERE state = 'open'
ON CONFLICT DO NOTHING""")
_FORGET_CLOSED = text("""
DELETE FROM audit_sums s WHERE part = 'sealed' AND kind IN ('lease', 'posted')
    AND NOT EXISTS (SELECT FROM leases l WHERE CAST(l.id AS text) = s.id
        AND (l.state = 'open' OR l.opened_at >= :leases))""")
