"""Latency of an organization's successes, of all and by key and model: what charts and tables show.

It is read from sums by the day, or by the hour for the last days. A key, model or time of which
nothing was measured is not in what is returned.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.status.error_series import Slot
from gateway.identifiers import is_id
from gateway.storage.tables import (
    answer_days,
    answer_hours,
    latency_days,
    latency_hours,
    total,
)

_SUCCESS = 2

Latencies = Mapping[int, int]
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
    query = _query_by_owner(**_kind(chosen))
    found = await connection.execute(query, _values(organization_id, chosen))
    models, keys = defaultdict[str, Counter[int]](Counter), defaultdict[str, Counter[int]](Counter)
    for bound, model_id, key_id, answers in found.all():
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
    query = _query_by_slot(**_kind(chosen), by=by)
    named = {"owners": owners} if by else {}
    found = await connection.execute(query, _values(organization_id, chosen) | named)
    slots: dict[str, dict[Slot, Latencies]] = defaultdict(dict)
    for slot, owner, counts in found.all():
        slots[owner][slot] = _unpacked(counts)
    return slots


async def of_all(
    connection: AsyncConnection, organization_id: str, chosen: LatencyFilter
) -> Mapping[Slot, Latencies]:
    """Return the latencies of each hour or day of the whole organization.

    They were counted before those of keys and models were; the filter names none of these.
    """
    found = await connection.execute(
        _query_of_all(hourly=chosen.hourly), _values(organization_id, chosen)
    )
    return {slot: _unpacked(counts) for slot, _, counts in found.all()}


# Statements are made once and not for each page: that takes as long as to run them. Their answers
# have a row for each bar and not for each of its bounds, of which there may be thousands.
@cache
def _query_by_owner(*, hourly: bool, of_key: bool, of_model: bool) -> Select[Any]:
    table = latency_hours if hourly else latency_days
    # a number first: SQLite sorts by it with fewer comparisons of texts
    groups = (table.c.latency_ms, table.c.model_id, table.c.key_id)
    return (
        select(*groups, total(table.c.answers))
        .where(*_where(table, of_key=of_key, of_model=of_model))
        .group_by(*groups)
    )


@cache
def _query_by_slot(*, hourly: bool, of_key: bool, of_model: bool, by: Owner | None) -> Select[Any]:
    table = latency_hours if hourly else latency_days
    conditions = _where(table, of_key=of_key, of_model=of_model)
    owner: ColumnElement[str] = literal("")
    if by:
        owner = table.c.model_id if by == "model" else table.c.key_id
        conditions.append(owner.in_(bindparam("owners", expanding=True)))
    if by == "key":  # whose models are few and beside it in the table: SQLite would sort them
        return _packed(_at(table), owner, table).where(*conditions)
    sums = (
        select(
            _at(table).label("at"),
            owner.label("owner"),
            table.c.latency_ms,
            total(table.c.answers).label("answers"),
        )
        .where(*conditions)
        .group_by("at", "owner", table.c.latency_ms)
        .subquery()
    )
    return _packed(sums.c.at, sums.c.owner, sums)


@cache
def _query_of_all(*, hourly: bool) -> Select[Any]:
    table = answer_hours if hourly else answer_days
    conditions = [*_where(table), table.c.status_class == _SUCCESS]
    return _packed(_at(table), literal(""), table).where(*conditions)


def _packed(at: ColumnElement[Any], owner: ColumnElement[Any], rows: FromClause) -> Select[Any]:
    """Select a row for each time and owner, with its bounds and counts in one text."""
    pair = cast(rows.c.latency_ms, Text) + "," + cast(rows.c.answers, Text)
    return select(at.label("at"), owner.label("owner"), func.aggregate_strings(pair, ",")).group_by(
        "at", "owner"
    )


def _unpacked(text: str) -> Latencies:
    numbers = msgspec.json.decode(f"[{text}]", type=list[int])
    counts = defaultdict[int, int](int)
    for bound, answers in zip(numbers[::2], numbers[1::2], strict=True):
        counts[bound] += answers
    return counts


def _at(table: Table) -> ColumnElement[Slot]:
    return table.c.day if "day" in table.c else table.c.hour


def _where(
    table: Table, *, of_key: bool = False, of_model: bool = False
) -> list[ColumnElement[bool]]:
    conditions = [
        table.c.organization_id == bindparam("organization_id"),
        _at(table).between(bindparam("first"), bindparam("last")),
    ]
    if of_key:
        conditions.append(table.c.key_id == bindparam("key_id"))
    if of_model:
        conditions.append(table.c.model_id == bindparam("model_id"))
    return conditions


def _kind(chosen: LatencyFilter) -> dict[str, bool]:
    """Return what makes the statement another one."""
    return {
        "hourly": chosen.hourly,
        "of_key": bool(chosen.key_id),
        "of_model": bool(chosen.model_id),
    }


def _values(organization_id: str, chosen: LatencyFilter) -> dict[str, Any]:
    """Return what the conditions compare with."""
    first: Slot = chosen.since
    last: Slot = chosen.until.date()
    if chosen.hourly:
        first, last = datetime.combine(chosen.since, time(), UTC), chosen.until
    values = {"organization_id": organization_id, "first": first, "last": last}
    if chosen.key_id:  # what is no id equals nothing: PostgreSQL would refuse it
        values["key_id"] = chosen.key_id if is_id(chosen.key_id) else None
    if chosen.model_id:
        values["model_id"] = chosen.model_id
    return values
