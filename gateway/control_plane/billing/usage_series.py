"""An organization's usage over time, split by model or key: what charts draw.

Like all of an organization's usage it is read from sums by the day, or by the hour for short spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Table, Text, case, cast, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing.usage import Filter
from gateway.identifiers import is_id
from gateway.storage.tables import total, usage_days, usage_hours

Split = Literal["none", "model", "key"]


class UsageCell(msgspec.Struct, frozen=True):
    """What was used in one hour, or on one day, of one group; its name is empty for the rest."""

    at: datetime | date
    group: str
    requests: int
    tokens: int
    cost_nanos: int


class Used(msgspec.Struct, frozen=True):
    """What was used in a span."""

    requests: int
    tokens: int
    cost_nanos: int


async def cells(
    connection: AsyncConnection,
    organization_id: str,
    chosen: Filter,
    *,
    by: Split,
    groups: Sequence[str],
    hourly: bool,
) -> list[UsageCell]:
    """Return the usage of each hour or day by group; all but the `groups` named are one."""
    table = usage_hours if hourly else usage_days
    at = table.c.hour if hourly else table.c.day
    group = _group(table, by, groups)
    found = await connection.execute(
        select(at.label("at"), group.label("group"), *_sums(table))
        .where(*_where(table, organization_id, chosen), at >= _start(chosen.since, hourly=hourly))
        .group_by(at, group)
    )
    return [UsageCell(*row) for row in found.all()]


async def before(
    connection: AsyncConnection, organization_id: str, chosen: Filter, now: datetime
) -> Used:
    """Return what was used in the span before, which ended at the same hour of its last day."""
    days = (now.date() - chosen.since).days + 1
    last = now.date() - timedelta(days=days)
    until = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=days)
    whole = (
        select(*_sums(usage_days))
        .where(*_where(usage_days, organization_id, chosen))
        .where(usage_days.c.day >= chosen.since - timedelta(days=days), usage_days.c.day < last)
    )
    rest = (
        select(*_sums(usage_hours))
        .where(*_where(usage_hours, organization_id, chosen))
        .where(usage_hours.c.hour.between(_start(last, hourly=True), until))
    )
    rows = (await connection.execute(whole.union_all(rest))).all()
    return Used(*(sum(column) for column in zip(*rows, strict=True)))


def _group(table: Table, by: Split, groups: Sequence[str]) -> ColumnElement[str]:
    if by == "none":
        return literal("")
    column = table.c.model_id if by == "model" else cast(table.c.key_id, Text)
    return case((column.in_(groups), column), else_="")


def _sums(table: Table) -> list[ColumnElement[int]]:
    names = {"requests": "requests", "tokens": "tokens", "charged_nanos": "cost_nanos"}
    return [total(table.c[name]).label(label) for name, label in names.items()]


def _start(day: date, *, hourly: bool) -> datetime | date:
    return datetime.combine(day, time(), UTC) if hourly else day


def _where(table: Table, organization_id: str, chosen: Filter) -> list[ColumnElement[bool]]:
    conditions = [table.c.organization_id == organization_id]
    if chosen.key_id:
        known = is_id(chosen.key_id)
        conditions.append(table.c.key_id == chosen.key_id if known else table.c.key_id.is_(None))
    if chosen.model_id:
        conditions.append(table.c.model_id == chosen.model_id)
    return conditions
