"""The budgets of keys: how much one may spend in a month, or ever.

A budget has an account for each of its periods, opened by the first request of the period, and is
leased and spent like an organization's, only that no money lies in it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.budgets import budget_id, period_at
from gateway.data_plane.metering.credits import Period
from gateway.storage.ledger import grants, postings
from gateway.storage.tables import accounts, key_budgets


async def set_budget(
    connection: AsyncConnection, key_id: str, limit_nanos: int, period: Period
) -> None:
    """Give a key a budget, or change it; what it spent in the running period still counts.

    A process that already leased from the old limit may spend what it leased; the account then
    owes the difference, and grants nothing more until the limit covers it.
    """
    now = datetime.now(UTC)
    values = {"period": period, "limit_nanos": limit_nanos, "changed_at": now}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    await connection.execute(
        dialect.insert(key_budgets)
        .values(key_id=key_id, **values)
        .on_conflict_do_update(index_elements=["key_id"], set_=values)
    )
    account_id = budget_id(key_id, period_at(period, int(now.timestamp() * 1000)))
    account = await postings.lock_account(connection, account_id)
    if account is None:
        return
    change = limit_nanos - account.limit_nanos
    if change > 0:
        await grants.pay_in(connection, account_id, change)
    elif change < 0:
        await grants.take_out(connection, account_id, -change)
    await connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(limit_nanos=limit_nanos, recalled_at=now)
    )


async def remove_budget(connection: AsyncConnection, key_id: str) -> None:
    """Let a key spend what its organization has."""
    await connection.execute(delete(key_budgets).where(key_budgets.c.key_id == key_id))
