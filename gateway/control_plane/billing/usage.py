"""An organization's usage in sums: by day, by key, by model.

Pages read usage only here, from daily sums: the cost of a page depends on the days and keys that it
shows, not on the number of requests.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Row,
    Text,
    bindparam,
    cast,
    literal,
    select,
    union_all,
)
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
        .where(*_where(of_key=bool(chosen.key_id), of_model=bool(chosen.model_id)))
        .group_by(group)
        .order_by(order)
        .limit(_GROUPS_MAX),
        _values(organization_id, chosen),
    )
    return [_sum(row) for row in found]


async def every_sum(
    connection: AsyncConnection, organization_id: str, chosen: Filter
) -> dict[By, list[Sum]]:
    """Return `sums` by day, key and model, reading the daily sums only once."""
    query = _every_sum(of_key=bool(chosen.key_id), of_model=bool(chosen.model_id))
    found: dict[By, list[Sum]] = {by: [] for by in GROUPINGS}
    for row in await connection.execute(query, _values(organization_id, chosen)):
        found[row.by].append(_sum(row))
    found["day"].sort(key=lambda day: day.group)
    for by in ("key", "model"):
        found[by].sort(key=lambda item: item.cost_nanos, reverse=True)
    return {by: some[:_GROUPS_MAX] for by, some in found.items()}


@cache  # making it takes longer than reading its answer
def _every_sum(*, of_key: bool, of_model: bool) -> CompoundSelect[Any]:
    counted = [usage_days.c[name] for name in ("requests", "inputs", "tokens", "charged_nanos")]
    days = (usage_days.c.day, usage_days.c.key_id, usage_days.c.model_id)
    cells = (
        select(*days, *(total(column).label(column.name) for column in counted))
        .where(*_where(of_key=of_key, of_model=of_model))
        .group_by(*days)
        .cte("cells")
    )
    groups = zip(GROUPINGS, (cells.c.day, cells.c.key_id, cells.c.model_id), strict=True)
    parts = [
        select(
            literal(by).label("by"),
            cast(group, Text).label("group"),
            total(cells.c.requests).label("requests"),
            total(cells.c.inputs).label("inputs"),
            total(cells.c.tokens).label("tokens"),
            total(cells.c.charged_nanos).label("cost_nanos"),
        ).group_by(group)
        for by, group in groups
    ]
    return union_all(*parts)


async def models_of(connection: AsyncConnection, organization_id: str, since: date) -> list[str]:
    """Return the models that an organization used since a day, sorted."""
    model_id = usage_days.c.model_id
    query = select(model_id).where(*_where()).distinct().order_by(model_id)
    values = _values(organization_id, Filter(since=since))
    return list(await connection.scalars(query.limit(_GROUPS_MAX), values))


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


def _where(*, of_key: bool = False, of_model: bool = False) -> list[ColumnElement[bool]]:
    conditions = [
        usage_days.c.organization_id == bindparam("organization_id"),
        usage_days.c.day >= bindparam("since"),
    ]
    if of_key:
        conditions.append(usage_days.c.key_id == bindparam("key_id"))
    if of_model:
        conditions.append(usage_days.c.model_id == bindparam("model_id"))
    return conditions


def _values(organization_id: str, chosen: Filter) -> dict[str, Any]:
    """Return what the conditions compare with."""
    values: dict[str, Any] = {"organization_id": organization_id, "since": chosen.since}
    if chosen.key_id:  # what is no id equals nothing: PostgreSQL would refuse it
        values["key_id"] = chosen.key_id if is_id(chosen.key_id) else None
    if chosen.model_id:
        values["model_id"] = chosen.model_id
    return values
