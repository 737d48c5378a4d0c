"""Latency of an organization's successes by key and model: what charts draw and tables list.

It is read from sums by the day, or by the hour for the last days. A key, model or time of which
nothing was measured is not in what is returned.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, Table, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.status.answer_series import Slot
from gateway.identifiers import is_id
from gateway.storage.tables import latency_days, latency_hours, total

Latencies = Counter[int]
"""Successes by the bound of their latency, in milliseconds."""
Owner = Literal["model", "key"]


class LatencyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects successes: from midnight UTC of a day on, of a key, of a model."""

    since: date
    until: datetime
    """The last hour; unless `hourly`, the whole of its day counts."""
    hourly: bool
    """Read by the hour, which is there for the last `answers.LATENCY_HOURS_DAYS` alone."""
    key_id: str | None = None
    model_id: str | None = None


async def by_owner(
    connection: AsyncConnection, organization_id: str, chosen: LatencyFilter
) -> Mapping[Owner, Mapping[str, Latencies]]:
    """Return the latencies of the whole time of each model and of each key."""
    table = _table(chosen)
    groups = (table.c.model_id, table.c.key_id, table.c.latency_ms)
    found = await connection.execute(
        select(*groups, total(table.c.answers))
        .where(*_where(organization_id, chosen))
        .group_by(*groups)
    )
    models, keys = defaultdict[str, Latencies](Counter), defaultdict[str, Latencies](Counter)
    for model_id, key_id, bound, answers in found.all():
        models[model_id][bound] += answers
        keys[key_id][bound] += answers
    return {"model": models, "key": keys}


async def by_slot(
    connection: AsyncConnection,
    organization_id: str,
    chosen: LatencyFilter,
    *,
    by: Owner | None = None,
    owners: Sequence[str] = (),
) -> Mapping[str, Mapping[Slot, Latencies]]:
    """Return the latencies of each hour or day of these models or keys.

    Without `by` they are those of all together, whose name is empty.
    """
    table = _table(chosen)
    at = _at(table)
    owner: ColumnElement[str] = literal("")
    conditions = _where(organization_id, chosen)
    if by:
        owner = table.c.model_id if by == "model" else table.c.key_id
        conditions.append(owner.in_(owners))
    found = await connection.execute(
        select(at.label("at"), owner.label("owner"), table.c.latency_ms, total(table.c.answers))
        .where(*conditions)
        .group_by(at, owner, table.c.latency_ms)
    )
    slots: dict[str, dict[Slot, Latencies]] = defaultdict(lambda: defaultdict(Counter))
    for slot, name, bound, answers in found.all():
        slots[name][slot][bound] = answers
    return slots


def _table(chosen: LatencyFilter) -> Table:
    return latency_hours if chosen.hourly else latency_days


def _at(table: Table) -> ColumnElement[Slot]:
    return table.c.hour if table is latency_hours else table.c.day


def _where(organization_id: str, chosen: LatencyFilter) -> list[ColumnElement[bool]]:
    table = _table(chosen)
    first: Slot = chosen.since
    last: Slot = chosen.until.date()
    if chosen.hourly:
        first, last = datetime.combine(chosen.since, time(), UTC), chosen.until
    conditions = [table.c.organization_id == organization_id, _at(table).between(first, last)]
    if chosen.key_id:
        known = is_id(chosen.key_id)
        conditions.append(table.c.key_id == chosen.key_id if known else table.c.key_id.is_(None))
    if chosen.model_id:
        conditions.append(table.c.model_id == chosen.model_id)
    return conditions
