"""The budgets of keys: how much a key may spend in a month, or in total.

A budget has an account for each of its periods, opened when it is set or by the first request of
the period. It is leased and spent like an organization's account, but holds no money.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.metering.leases import budget_id, period_at
from gateway.data_plane.metering.port import Period
from gateway.storage.database import insert_into
from gateway.storage.ledger import grants, postings, sums
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import accounts, api_keys, key_budgets, usage_days


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much a key may spend in a period."""

    limit_nanos: int
    period: Period


class Spent(Budget, frozen=True, kw_only=True):
    """A budget, and how much of it has been spent in the current period."""

    spent_nanos: int


async def set_budget(
    connection: AsyncConnection, key_id: str, limit_nanos: int, period: Period
) -> None:
    """Give a key a budget, or change it; what the key has spent in the current period counts.

    That is its usage so far, with a budget or without. Requests in flight that started without a
    budget, for less than a second, are not counted.

    A process that has leased from the old limit may spend what it leased; the account then owes the
    difference, and grants nothing until the limit covers it.
    """
    now = wall.now()
    values = {"period": period, "limit_nanos": limit_nanos, "changed_at": now}
    await connection.execute(
        insert_into(connection, key_budgets)
        .values(key_id=key_id, **values)
        .on_conflict_do_update(index_elements=["key_id"], set_=values)
    )
    account_id = await _open(connection, key_id, limit_nanos, period, now)
    account = await postings.lock_account(connection, account_id)
    assert account is not None
    change = limit_nanos - account.limit_nanos
    if change > 0:
        await postings.pay_in(connection, account_id, change)
    elif change < 0:
        await postings.take_out(connection, account_id, -change, now)
    await connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(limit_nanos=limit_nanos, recalled_at=now)
    )
    if missed := await _missed(connection, account_id, now):
        await postings.take_out(connection, account_id, missed, now)
        await postings.move(connection, account_id, spent=missed)
        await sums.open_with(connection, "budget", account_id, missed)


async def remove_budget(connection: AsyncConnection, key_id: str) -> None:
    """Remove a key's budget: it may spend all that its organization has."""
    await connection.execute(delete(key_budgets).where(key_budgets.c.key_id == key_id))


async def of_organization(
    connection: AsyncConnection, organization_id: str, now: datetime
) -> dict[str, Spent]:
    """Return the budgets of an organization's keys that are not revoked, by key id, in one query.

    A budget whose account is not open yet has spent nothing in its period.
    """
    running = case(
        (key_budgets.c.period == "total", "total"),
        else_=period_at("month", int(now.timestamp() * 1000)),
    )
    found = await connection.execute(
        select(
            key_budgets.c.key_id,
            key_budgets.c.period,
            key_budgets.c.limit_nanos,
            func.coalesce(_spent(), 0).label("spent_nanos"),
        )
        .join(api_keys, api_keys.c.id == key_budgets.c.key_id)
        .join(
            accounts,
            and_(accounts.c.key_id == key_budgets.c.key_id, accounts.c.period == running),
            isouter=True,
        )
        .where(api_keys.c.organization_id == organization_id, api_keys.c.revoked_at.is_(None))
    )
    return {
        row.key_id: Spent(
            limit_nanos=row.limit_nanos, period=row.period, spent_nanos=row.spent_nanos
        )
        for row in found
    }


async def _open(
    connection: AsyncConnection, key_id: str, limit_nanos: int, period: Period, now: datetime
) -> str:
    """Open the account of the current period unless a request has, and return its id."""
    name = period_at(period, int(now.timestamp() * 1000))
    account_id = budget_id(key_id, name)
    owner = select(api_keys.c.organization_id).where(api_keys.c.id == key_id)
    organization_id = await connection.scalar(owner)
    assert organization_id is not None
    await grants.open_budget(connection, account_id, organization_id, key_id, name, limit_nanos)
    return account_id


async def _missed(connection: AsyncConnection, account_id: str, now: datetime) -> int:
    """Return a key's usage in a locked account's period that the account has not counted.

    One statement sees one moment: a concurrent tick is in both sums or in neither.
    """
    month = now.astimezone(UTC).date().replace(day=1)
    used = (
        select(func.coalesce(func.sum(usage_days.c.charged_nanos), 0))
        .where(
            usage_days.c.organization_id == accounts.c.organization_id,
            usage_days.c.key_id == accounts.c.key_id,
            or_(accounts.c.period == "total", usage_days.c.day >= month),
        )
        .correlate(accounts)
        .scalar_subquery()
    )
    missed = await connection.scalar(select(used - _spent()).where(accounts.c.id == account_id))
    # days that were deleted by hand must not raise a budget
    return max(int(missed or 0), 0)


def _spent() -> ColumnElement[Any]:
    """What an account neither has available nor holds in leases."""
    return (
        accounts.c.limit_nanos
        - accounts.c.available_nanos
        - leased_unspent()
        + accounts.c.owed_nanos
    )
