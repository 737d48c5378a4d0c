"""Credit that dead processes hold, coming back: leases past their time by the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from gateway.storage.database import Database
from gateway.storage.ledger import postings
from gateway.storage.tables import leases

_REAP_AT_ONCE = 200


async def reap(
    database: Database, *, grace_seconds: float = 5.0, at: datetime | None = None
) -> int:
    """Close the leases whose time is over, and return how many there were.

    A lease that a process is just talking about is passed over: its talk renews it. `at` stands in
    for the database's clock in tests.
    """
    async with database.write() as connection:
        now = at or await postings.database_now(connection)
        overdue = await connection.execute(
            select(leases.c.id, leases.c.account_id)
            .where(
                leases.c.state == "open",
                leases.c.expires_at < now - timedelta(seconds=grace_seconds),
            )
            .order_by(leases.c.id)
            .limit(_REAP_AT_ONCE)
            .with_for_update(skip_locked=True, key_share=True)
        )
        rows = overdue.all()
        for account_id in sorted({row.account_id for row in rows}):
            await postings.lock_account(connection, account_id)
        for row in rows:
            await postings.close(connection, row.id, now)
    return len(rows)
