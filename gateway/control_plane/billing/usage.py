"""An organization's usage in sums: by day, by key, by model.

Pages read usage only here, from daily sums: the cost of a page depends on the days and keys that it
shows, not on the number of requests.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Row, Text, cast, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import is_id
from gateway.storage.tables import total, usage_days

By = Literal["day", "key", "model"]
GROUPINGS: tuple[By, ...] = ("day", "key", "model")

_GROUPS_MAX = 1_000
# as text, so that one query returns all three; dates become YYYY-MM-DD in both databases
_GROUPS: dict[By, ColumnElement[str]] = {
    "day": cast(usage_days.c.day, Text),
    "key": cast(usage_days.c.key_id, Text),
    "model": usage_days.c.model_id,
}


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of one day (its date), one key (its id) or one model (its id)."""

    group: str
    requests: int
    inputs: int
    tokens: int
    cost_nanos: int


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects usage: since midnight UTC of a day, of a key, of a model."""

    since: date
    key_id: str | None = None
    model_id: str | None = None


async def sums(
    connection: AsyncConnection, organization_id: str, chosen: Filter, *, by: By
) -> list[Sum]:
    """Sum an organization's usage: days in order, keys and models by descending cost."""
    group = _GROUPS[by]
    cost = total(usage_days.c.charged_nanos)
    order = group if by == "day" else cost.desc()
    found = await connection.execute(
        select(
            group.label("group"),
            total(usage_days.c.requests).label("requests"),
            total(usage_days.c.inputs).label("inputs"),
            total(usage_days.c.tokens).label("tokens"),
            cost.label("cost_nanos"),
        )
        .where(*_where(organization_id, chosen))
        .group_by(group)
        .order_by(order)
        .limit(_GROUPS_MAX)
    )
    return [_sum(row) for row in found]


async def every_sum(
    connection: AsyncConnection, organization_id: str, chosen: Filter
) -> dict[By, list[Sum]]:
    """Return `sums` by day, key and model, reading the daily sums only once."""
    counted = [usage_days.c[name] for name in ("requests", "inputs", "tokens", "charged_nanos")]
    cells = (
        select(
            *(group.label(by) for by, group in _GROUPS.items()),
            *(total(column).label(column.name) for column in counted),
        )
        .where(*_where(organization_id, chosen))
        .group_by(*_GROUPS.values())
        .cte("cells")
    )
    parts = [
        select(
            literal(by).label("by"),
            cells.c[by].label("group"),
            total(cells.c.requests).label("requests"),
            total(cells.c.inputs).label("inputs"),
            total(cells.c.tokens).label("tokens"),
            total(cells.c.charged_nanos).label("cost_nanos"),
        ).group_by(cells.c[by])
        for by in GROUPINGS
    ]
    found: dict[By, list[Sum]] = {by: [] for by in GROUPINGS}
    for row in await connection.execute(union_all(*parts)):
        found[row.by].append(_sum(row))
    found["day"].sort(key=lambda day: day.group)
    for by in ("key", "model"):
        found[by].sort(key=lambda item: item.cost_nanos, reverse=True)
    return {by: some[:_GROUPS_MAX] for by, some in found.items()}


async def models_of(connection: AsyncConnection, organization_id: str, since: date) -> list[str]:
    """Return the models that an organization used since a day, sorted."""
    days = _where(organization_id, Filter(since=since))
    query = select(usage_days.c.model_id).where(*days).distinct().order_by(usage_days.c.model_id)
    return list(await connection.scalars(query.limit(_GROUPS_MAX)))


def every_day(days: list[Sum], since: date, until: date) -> list[Sum]:
    """Return one sum per day of a span, with zeros for days without usage."""
    known = {day.group: day for day in days}
    span = [since + timedelta(days=n) for n in range((until - since).days + 1)]
    return [
        known.get(
            day.isoformat(),
            Sum(group=day.isoformat(), requests=0, inputs=0, tokens=0, cost_nanos=0),
        )
        for day in span
    ]


def _sum(row: Row[*tuple[Any, ...]]) -> Sum:
    return Sum(
        group=str(row.group),
        requests=row.requests,
        inputs=row.inputs,
        tokens=row.tokens,
        cost_nanos=row.cost_nanos,
    )


def _where(organization_id: str, chosen: Filter) -> list[ColumnElement[bool]]:
    conditions = [
        usage_days.c.organization_id == organization_id,
        usage_days.c.day >= chosen.since,
    ]
    if chosen.key_id:
        matches = usage_days.c.key_id == chosen.key_id
        conditions.append(matches if is_id(chosen.key_id) else usage_days.c.key_id.is_(None))
    if chosen.model_id:
        conditions.append(usage_days.c.model_id == chosen.model_id)
    return conditions
