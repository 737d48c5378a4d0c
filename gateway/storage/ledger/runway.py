"""How long credit lasts at the current rate.

The rate is the average daily usage of the last seven UTC days, including today. Credit is what is
available plus what leases hold unspent.
"""

from __future__ import annotations

from datetime import date, timedelta

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import accounts, total, usage_days

RATE_DAYS = 7


class Runway(msgspec.Struct, frozen=True):
    """What an organization has, what it spends, and how many whole days that lasts."""

    available_nanos: int
    nanos_a_day: int
    days: int | None
    """None without any use in the last days."""


async def runway(connection: AsyncConnection, organization_id: str) -> Runway:
    """Return an organization's, in one statement."""
    query = select(
        (accounts.c.available_nanos + leased_unspent()).label("available"),
        spent_lately(wall.now().date()).label("spent"),
    ).where(accounts.c.id == organization_id)
    row = (await connection.execute(query)).one()
    return of(row.available, row.spent)


def of(available_nanos: int, spent_nanos: int) -> Runway:
    """Return the runway of a balance, given what was spent in the last RATE_DAYS days."""
    a_day = -(-spent_nanos // RATE_DAYS)
    return Runway(available_nanos, a_day, available_nanos // a_day if a_day else None)


def spent_lately(today: date) -> ColumnElement[int]:
    """Return, for a query over `accounts`, what their organizations used in the last days."""
    since = today - timedelta(days=RATE_DAYS - 1)
    return (
        select(total(usage_days.c.charged_nanos))
        .where(
            usage_days.c.organization_id == accounts.c.organization_id, usage_days.c.day >= since
        )
        .correlate(accounts)
        .scalar_subquery()
    )
