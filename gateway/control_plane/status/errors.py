"""Errors of an organization by code, key and day, from daily sums. None of them is charged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.metering.port import BudgetExceeded
from gateway.storage.tables import error_days, total

SUMS_MAX = 10_000
"""Most sums by day, code and key that are read at once."""


class ErrorSum(msgspec.Struct, frozen=True):
    """Errors of one day, code and key."""

    day: date
    status: int
    code: str
    key_id: str
    errors: int


async def refused_by_budget(
    connection: AsyncConnection, organization_id: str, day: date
) -> Mapping[str, int]:
    """Return how many requests each key's used-up budget refused on a UTC day."""
    days = error_days.c
    found = await connection.execute(
        select(days.key_id, total(days.errors).label("errors"))
        .where(
            days.organization_id == organization_id,
            days.day == day,
            days.code == BudgetExceeded.code,
        )
        .group_by(days.key_id)
    )
    return {row.key_id: row.errors for row in found}


async def every_sum(
    connection: AsyncConnection, organization_id: str, since: date
) -> list[ErrorSum]:
    """Return the errors since a UTC day by day, code and key, most first, in one query.

    There are at most SUMS_MAX; with as many, there may have been more errors.
    """
    days = error_days.c
    groups = (days.day, days.status, days.code, days.key_id)
    counted = total(days.errors)
    found = await connection.execute(
        select(*groups, counted.label("errors"))
        .where(days.organization_id == organization_id, days.day >= since)
        .group_by(*groups)
        .order_by(counted.desc(), *groups)
        .limit(SUMS_MAX)
    )
    return [ErrorSum(*row) for row in found.all()]


def first_day(days: int) -> date:
    """Return the first of the last so many UTC days, today included."""
    return wall.now().date() - timedelta(days=days - 1)
