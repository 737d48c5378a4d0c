"""Upkeep of the ledger: leases of dead processes are closed."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.storage.database import Database, refuses
from gateway.storage.ledger import freezes, postings
from gateway.storage.tables import accounts, leases

_REAP_AT_ONCE = 1_000


async def reap(
    database: Database, *, grace_seconds: float = 5.0, at: datetime | None = None
) -> int:
    """Close the leases that have expired by the database's clock, and return how many.

    Each is closed in its own transaction: one that can't be posted must not hold up the others, and
    its organization is frozen. One that a tick holds locked is skipped: the tick renews it. `at`
    stands in for the clock in tests.
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
    await freezes.freeze_refused(database, organization_id, reason)
