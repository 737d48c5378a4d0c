"""An organization's errors and latency over time, from hourly sums: what charts draw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Date, Text, case, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import is_id
from gateway.storage.tables import answer_hours, error_hours, total

_SUCCESS = 2

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
    """Return the errors of each hour or day by group; all but the `groups` named are one."""
    table = error_hours.c
    at = table.hour if hourly else _day(connection, table.hour)
    column = _GROUPS.get(by)
    group = literal("") if column is None else case((column.in_(groups), column), else_="")
    found = await connection.execute(
        select(at.label("at"), group.label("group"), total(table.errors))
        .where(*_where(organization_id, chosen))
        .group_by(at, group)
    )
    return [(_slot(row[0]), row[1], row[2]) for row in found]


async def most_errors(
    connection: AsyncConnection,
    organization_id: str,
    chosen: ErrorFilter,
    *,
    by: Literal["model", "key"],
    limit: int,
) -> list[str]:
    """Return the keys or models with most errors, the most first."""
    group = _GROUPS[by]
    found = await connection.scalars(
        select(group)
        .where(*_where(organization_id, chosen))
        .group_by(group)
        .order_by(total(error_hours.c.errors).desc(), group)
        .limit(limit)
    )
    return list(found)


async def error_count(
    connection: AsyncConnection, organization_id: str, chosen: ErrorFilter
) -> int:
    """Return how many errors there were."""
    query = select(total(error_hours.c.errors)).where(*_where(organization_id, chosen))
    return int(await connection.scalar(query) or 0)


async def latencies(
    connection: AsyncConnection, organization_id: str, since: date, until: datetime, *, hourly: bool
) -> Mapping[Slot, Counter[int]]:
    """Count the successes of each hour or day by the bound of their latency."""
    table = answer_hours.c
    at = table.hour if hourly else _day(connection, table.hour)
    found = await connection.execute(
        select(at.label("at"), table.latency_ms, total(table.answers))
        .where(
            table.organization_id == organization_id,
            table.hour.between(_midnight(since), until),
            table.status_class == _SUCCESS,
        )
        .group_by(at, table.latency_ms)
    )
    counts: dict[Slot, Counter[int]] = defaultdict(Counter)
    for slot, bound, answers in found:
        counts[_slot(slot)][bound] = answers
    return counts


_GROUPS: Mapping[str, ColumnElement[str]] = {
    "model": error_hours.c.model_id,
    "key": cast(error_hours.c.key_id, Text),
}


def _where(organization_id: str, chosen: ErrorFilter) -> list[ColumnElement[bool]]:
    table = error_hours.c
    conditions = [
        table.organization_id == organization_id,
        table.hour.between(_midnight(chosen.since), chosen.until),
    ]
    if chosen.key_id:
        known = is_id(chosen.key_id)
        conditions.append(table.key_id == chosen.key_id if known else table.key_id.is_(None))
    if chosen.model_id:
        conditions.append(table.model_id == chosen.model_id)
    return conditions


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _day(connection: AsyncConnection, hour: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Return the day of an hour, in UTC."""
    if connection.dialect.name == "postgresql":
        return cast(func.timezone("UTC", hour), Date)
    return func.substr(cast(hour, Text), 1, 10)


def _slot(value: Any) -> Slot:
    return date.fromisoformat(value) if isinstance(value, str) else value
