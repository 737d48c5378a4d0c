"""An organization's errors over time: what charts draw.

They are read from sums by the day, or by the hour for short spans and where a span ends within a
day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Table, Text, case, cast, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import is_id
from gateway.storage.tables import error_days, error_hours, total

Slot = datetime | date
"""An hour, or a day of UTC."""


class ErrorFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects errors: from midnight UTC of a day up to an hour, of a key, of a model."""

    since: date
    until: datetime
    key_id: str | None = None
    model_id: str | None = None


async def errors(
    connection: AsyncConnection,
    organization_id: str,
    chosen: ErrorFilter,
    *,
    by: Literal["none", "model", "key"],
    groups: Sequence[str],
    hourly: bool,
) -> list[tuple[Slot, str, int]]:
    """Return the errors of each hour or whole day by group; all but the `groups` are one."""
    table = error_hours if hourly else error_days
    at = table.c.hour if hourly else table.c.day
    group: ColumnElement[str] = literal("")
    if by != "none":
        column = _group(table, by)
        group = case((column.in_(groups), column), else_="")
    found = await connection.execute(
        select(at.label("at"), group.label("group"), total(table.c.errors))
        .where(*_of(table, organization_id, chosen), _span(table, chosen.since, chosen.until))
        .group_by(at, group)
    )
    return [(at, group, errors) for at, group, errors in found.all()]


async def most_errors(
    connection: AsyncConnection,
    organization_id: str,
    chosen: ErrorFilter,
    *,
    by: Literal["model", "key"],
    limit: int,
) -> list[str]:
    """Return the keys or models with most errors on whole days, the most first."""
    table = error_days
    group = _group(table, by)
    found = await connection.scalars(
        select(group)
        .where(*_of(table, organization_id, chosen), _span(table, chosen.since, chosen.until))
        .group_by(group)
        .order_by(total(table.c.errors).desc(), group)
        .limit(limit)
    )
    return list(found)


async def error_count(
    connection: AsyncConnection, organization_id: str, chosen: ErrorFilter
) -> int:
    """Return how many errors there were, on the last day up to the hour."""
    last = chosen.until.date()
    whole = select(total(error_days.c.errors)).where(
        *_of(error_days, organization_id, chosen),
        error_days.c.day >= chosen.since,
        error_days.c.day < last,
    )
    rest = select(total(error_hours.c.errors)).where(
        *_of(error_hours, organization_id, chosen), _span(error_hours, last, chosen.until)
    )
    return sum(await connection.scalars(whole.union_all(rest)))


def _group(table: Table, by: Literal["model", "key"]) -> ColumnElement[str]:
    return table.c.model_id if by == "model" else cast(table.c.key_id, Text)


def _of(table: Table, organization_id: str, chosen: ErrorFilter) -> list[ColumnElement[bool]]:
    conditions = [table.c.organization_id == organization_id]
    if chosen.key_id:
        known = is_id(chosen.key_id)
        conditions.append(table.c.key_id == chosen.key_id if known else table.c.key_id.is_(None))
    if chosen.model_id:
        conditions.append(table.c.model_id == chosen.model_id)
    return conditions


def _span(table: Table, since: date, until: datetime) -> ColumnElement[bool]:
    """Return the condition for a span: from midnight UTC of a day up to an hour, or its day."""
    if "day" in table.c:
        return table.c.day.between(since, until.date())
    return table.c.hour.between(datetime.combine(since, time(), UTC), until)
