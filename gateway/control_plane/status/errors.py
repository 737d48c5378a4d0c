"""Errors of an organization by code, key and day, from hourly sums. None of them is charged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Date, Select, Text, cast, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.metering.port import BudgetExceeded
from gateway.storage.tables import error_hours, total
from gateway.storage.tables.types import Day

GROUPS_MAX = 200
"""Most codes or keys that are told apart: those with the most errors."""
SUMS_MAX = 10_000
"""Most sums by day, code and key that are read at once."""

By = Literal["code", "key", "day"]


class ErrorSum(msgspec.Struct, frozen=True, kw_only=True):
    """Errors that have something in common; what they don't share is empty, or 0."""

    errors: int
    status: int = 0
    code: str = ""
    key_id: str = ""
    day: date | None = None


async def refused_by_budget(
    connection: AsyncConnection, organization_id: str, since: datetime
) -> Mapping[str, int]:
    """Return how many requests each key's used-up budget refused since an hour began."""
    hours = error_hours.c
    found = await connection.execute(
        _since(organization_id, since, hours.key_id)
        .where(hours.code == BudgetExceeded.code)
        .group_by(hours.key_id)
    )
    return {row.key_id: row.errors for row in found}


async def errors_by(
    connection: AsyncConnection, organization_id: str, days: int, by: By = "code"
) -> list[ErrorSum]:
    """Return the errors of the last UTC days, today included: most first, or newest day first."""
    hours = error_hours.c
    if by == "day":
        return await _by_day(connection, organization_id, days)
    groups = (hours.status, hours.code) if by == "code" else (hours.key_id,)
    return await _most(connection, organization_id, days, *groups, limit=GROUPS_MAX)


async def every_sum(connection: AsyncConnection, organization_id: str, days: int) -> list[ErrorSum]:
    """Return the errors of the last UTC days by day, code and key, most first, in one query.

    There are at most SUMS_MAX; with as many, there may have been more errors.
    """
    hours = error_hours.c
    groups = (_day(connection), hours.status, hours.code, hours.key_id)
    return await _most(connection, organization_id, days, *groups, limit=SUMS_MAX)


async def _most(
    connection: AsyncConnection,
    organization_id: str,
    days: int,
    *groups: ColumnElement[Any],
    limit: int,
) -> list[ErrorSum]:
    counted = total(error_hours.c.errors)
    found = await connection.execute(
        _since(organization_id, first_moment(days), *groups)
        .group_by(*groups)
        .order_by(counted.desc(), *groups)
        .limit(limit)
    )
    return [ErrorSum(**row) for row in found.mappings()]


async def _by_day(connection: AsyncConnection, organization_id: str, days: int) -> list[ErrorSum]:
    """Return each day, those without errors too."""
    found = await _most(connection, organization_id, days, _day(connection), limit=days)
    counted = {one.day: one.errors for one in found}
    today = wall.now().date()
    every = (today - timedelta(days=number) for number in range(days))
    return [ErrorSum(day=day, errors=counted.get(day, 0)) for day in every]


def _day(connection: AsyncConnection) -> ColumnElement[date]:
    """Return the UTC day of an hour."""
    hour = error_hours.c.hour
    if connection.dialect.name == "postgresql":
        written: ColumnElement[Any] = cast(func.timezone("UTC", hour), Date)
    else:
        written = func.substr(type_coerce(hour, Text), 1, len("2026-11-30"))
    return type_coerce(written, Day()).label("day")


def first_moment(days: int) -> datetime:
    """Return when the last so many UTC days began, today included."""
    first = wall.now().date() - timedelta(days=days - 1)
    return datetime.combine(first, time(), UTC)


def _since(organization_id: str, since: datetime, *columns: ColumnElement[Any]) -> Select[Any]:
    hours = error_hours.c
    return select(*columns, total(hours.errors).label("errors")).where(
        hours.organization_id == organization_id, hours.hour >= since
    )
