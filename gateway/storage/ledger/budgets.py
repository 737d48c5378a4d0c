"""The budgets of keys: how much one may spend in a month, or ever.

A budget has an account for each of its periods, opened by the first request of the period, and is
leased and spent like an organization's, only that no money lies in it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sqlalchemy import and_, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.budgets import budget_id, period_at
from gateway.data_plane.metering.credits import Period
from gateway.storage.database import insert_into
from gateway.storage.ledger import grants, postings
from gateway.storage.ledger.balances import leased_unspent
from gateway.storage.tables import accounts, api_keys, key_budgets


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much a key may spend in a period."""

    limit_nanos: int
    period: Period


class Spent(Budget, frozen=True, kw_only=True):
    """A budget and what of it is spent in the running period."""

    spent_nanos: int


async def set_budget(
    connection: AsyncConnection, key_id: str, limit_nanos: int, period: Period
) -> None:
    """Give a key a budget, or change it; what it spent in the running period still counts.

    A process that already leased from the old limit may spend what it leased; the account then
    owes the difference, and grants nothing more until the limit covers it.
    """
    now = datetime.now(UTC)
    values = {"period": period, "limit_nanos": limit_nanos, "changed_at": now}
    await connection.execute(
        insert_into(connection, key_budgets)
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


async def of_organization(
    connection: AsyncConnection, organization_id: str, now: datetime
) -> dict[str, Spent]:
    """Return the budgets of an organization's keys by the key's id, in one query.

    What a budget's account neither has nor holds in leases is spent; one that is not open yet has
    spent nothing.
    """
    running = case(
        (key_budgets.c.period == "total", "total"),
        else_=period_at("month", int(now.timestamp() * 1000)),
    )
    spent = (
        accounts.c.limit_nanos
        - accounts.c.available_nanos
        - leased_unspent()
        + accounts.c.owed_nanos
    )
    found = await connection.execute(
        select(
            key_budgets.c.key_id,
            key_budgets.c.period,
            key_budgets.c.limit_nanos,
            func.coalesce(spent, 0).label("spent_nanos"),
        )
        .join(api_keys, api_keys.c.id == key_budgets.c.key_id)
        .join(
            accounts,
            and_(accounts.c.key_id == key_budgets.c.key_id, accounts.c.period == running),
            isouter=True,
        )
        .where(api_keys.c.organization_id == organization_id)
    )
    return {
        row.key_id: Spent(
            limit_nanos=row.limit_nanos, period=row.period, spent_nanos=row.spent_nanos
        )
        for row in found
    }
