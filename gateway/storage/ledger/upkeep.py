"""Upkeep of the ledger: partitions made and dropped, leases of dead processes closed.

Usage, and the roots of its receipts, go by the day. Their ids are UUIDv7, so a range of ids is a
range of time. SQLite has no partitions: there old rows are deleted, which the tables' triggers
allow for rows older than 31 days.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, delete, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database, refuses
from gateway.storage.ledger import freezes, postings
from gateway.storage.tables import accounts, leases, receipt_roots, usage_events

log = structlog.get_logger()

_AHEAD_DAYS = 7
_REAP_AT_ONCE = 1_000
_LOCK = 0x57E11B  # any number, the same in every process


async def maintain(
    database: Database, *, retention_days: int, now: datetime | None = None
) -> list[str]:
    """Create the partitions of the next days and drop old ones; return the names of the latter.

    Each table in a transaction of its own: a tick, which locks several, must not meet two of them.
    """
    now = now or datetime.now(UTC)
    oldest = _midnight(now) - timedelta(days=retention_days)
    dropped: list[str] = []
    for table in (usage_events, receipt_roots):
        async with database.write() as connection:
            if database.is_sqlite:
                (id_,) = table.primary_key
                await connection.execute(delete(table).where(id_ < _first_id(oldest)))
                continue
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            await _make_ahead(connection, table.name, now)
            dropped += await _drop_old(connection, table.name, oldest)
    async with database.write() as connection:
        await connection.execute(
            delete(leases).where(leases.c.state == "closed", leases.c.opened_at < oldest)
        )
    return dropped


async def reap(
    database: Database, *, grace_seconds: float = 5.0, at: datetime | None = None
) -> int:
    """Close the leases that have expired by the database's clock, and return how many.

    Each in a transaction of its own: one that can't be posted must not hold up the others, and its
    organization is frozen. One that a tick holds locked is skipped: the tick renews it. `at` stands
    in for the clock in tests.
    """
    async with database.read() as connection:
        now = at or await postings.database_now(connection)
        before = now - timedelta(seconds=grace_seconds)
        query = select(leases.c.id).where(*_overdue(before)).order_by(leases.c.expires_at)
        lease_ids = (await connection.scalars(query.limit(_REAP_AT_ONCE))).all()
    closed = 0
    for lease_id in lease_ids:
        try:
            closed += await _reap(database, lease_id, before, now)
        except (SQLAlchemyError, AssertionError) as error:
            if not refuses(error):
                raise
            await _freeze(database, lease_id, f"lease {lease_id} can't be closed: {error}")
    return closed


async def _reap(database: Database, lease_id: str, before: datetime, now: datetime) -> bool:
    """Close a lease unless it was renewed meanwhile; return whether it was closed."""
    query = (
        select(leases.c.account_id)
        .where(leases.c.id == lease_id, *_overdue(before))
        .with_for_update(skip_locked=True, key_share=True)
    )
    async with database.write() as connection:
        account_id = await connection.scalar(query)
        if account_id is None:
            return False
        await postings.lock_account(connection, account_id)
        await postings.close(connection, lease_id, now)
    return True


def _overdue(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return leases.c.state == "open", leases.c.expires_at < before


async def _freeze(database: Database, lease_id: str, reason: str) -> None:
    async with database.read() as connection:
        organization_id = await connection.scalar(
            select(accounts.c.organization_id)
            .join(leases, leases.c.account_id == accounts.c.id)
            .where(leases.c.id == lease_id)
        )
    assert organization_id is not None
    if await freezes.freeze_refused(database, organization_id, reason):
        log.error("an organization is frozen", organization=organization_id, reason=reason)


def _first_id(moment: datetime) -> str:
    """Return the smallest UUIDv7 of a moment: where a partition begins."""
    text_ = f"{int(moment.timestamp() * 1000):012x}"
    return f"{text_[:8]}-{text_[8:]}-0000-0000-000000000000"


async def _make_ahead(connection: AsyncConnection, table: str, now: datetime) -> None:
    known = await _partitions(connection, table)
    for days in range(_AHEAD_DAYS + 1):
        day = _midnight(now) + timedelta(days=days)
        name = f"{table}_{day:%Y%m%d}"
        if name not in known:
            until = day + timedelta(days=1)
            await connection.execute(
                text(
                    f"CREATE TABLE {name} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{_first_id(day)}') TO ('{_first_id(until)}')"
                )
            )


async def _drop_old(connection: AsyncConnection, table: str, oldest: datetime) -> list[str]:
    names = [
        name
        for name in await _partitions(connection, table)
        if name[len(table) + 1 :].isdecimal() and name < f"{table}_{oldest:%Y%m%d}"
    ]
    for name in names:
        await connection.execute(text(f"DROP TABLE {name}"))
    return names


async def _partitions(connection: AsyncConnection, table: str) -> list[str]:
    query = text(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = CAST(:table AS regclass) ORDER BY 1"
    )
    return [str(name) for name in await connection.scalars(query, {"table": table})]


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
