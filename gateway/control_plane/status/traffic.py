"""Traffic of the whole service by the hour: requests, what they brought, how they were answered.

A job adds up the hourly sums of all organizations into sums of the service, so that a page reads
some thousand rows however many organizations there are. It repeats the last hours, since usage may
be written late; usage that is later still is in the ledger and in an organization's own sums alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, Select, Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import (
    answer_hours,
    model_answers,
    organizations,
    total,
    traffic_answers,
    traffic_hours,
    traffic_leaders,
    usage_days,
    usage_hours,
)

REPEATED = timedelta(hours=2)
"""How far back from the newest hour sums are made again."""
BACKFILL = timedelta(days=31)
"""How far back the first sums go."""
KEPT = timedelta(days=400)
LEADERS = 20
"""Organizations that are named for each day."""
_AT_ONCE = timedelta(hours=6)
"""Hours that one statement adds up."""


class TrafficHour(msgspec.Struct, frozen=True, kw_only=True):
    """What was used in an hour, by all organizations."""

    hour: datetime
    requests: int
    inputs: int
    tokens: int
    charged_nanos: int


class ModelTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of a model."""

    model_id: str
    requests: int
    tokens: int
    charged_nanos: int


class AnswerSum(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of an hour with one class of status and one bound of latency."""

    hour: datetime
    status_class: int
    latency_ms: int
    answers: int


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """An organization that is among those who spent most on a day."""

    organization_id: str
    name: str
    requests: int
    tokens: int
    charged_nanos: int


async def sum_up(database: Database) -> None:
    """Bring the sums up to date; a job's function. What it did before it fails stays."""
    now = wall.now()
    async with database.read() as connection:
        newest = await connection.scalar(select(func.max(traffic_hours.c.hour)))
        answered = await connection.scalar(select(func.max(traffic_answers.c.hour)))
    known = min((at for at in (newest, answered) if at), default=None)
    start = max(known - REPEATED, now - BACKFILL) if known else now - BACKFILL
    start = start.replace(minute=0, second=0, microsecond=0)
    while start <= now:
        end = start + _AT_ONCE
        async with database.read() as connection:
            used = (await connection.execute(_usage_between(start, end))).all()
            answers = (await connection.execute(_answers_between(start, end))).all()
        if used or answers:
            async with database.write() as connection:
                await _store(connection, traffic_hours, ("hour", "model_id"), used)
                keys = ("hour", "status_class", "latency_ms")
                await _store(connection, traffic_answers, keys, answers)
        start = end


async def rank(database: Database) -> None:
    """Name the organizations that spent most today and yesterday; a job's function."""
    today = wall.now().date()
    for day in (today - timedelta(days=1), today):
        used = usage_days.c
        spent = total(used.charged_nanos).label("charged_nanos")
        query = (
            select(
                used.organization_id,
                total(used.requests).label("requests"),
                total(used.tokens).label("tokens"),
                spent,
            )
            .where(used.day == day)
            .group_by(used.organization_id)
            .order_by(spent.desc(), used.organization_id)
            .limit(LEADERS)
        )
        async with database.read() as connection:
            found = (await connection.execute(query)).mappings().all()
        rows = [{"day": day, "place": place, **row} for place, row in enumerate(found)]
        async with database.write() as connection:
            await connection.execute(delete(traffic_leaders).where(traffic_leaders.c.day == day))
            if rows:
                statement = insert_into(connection, traffic_leaders)
                keys = ["day", "place"]  # another process may have been first
                await connection.execute(
                    statement.on_conflict_do_nothing(index_elements=keys), rows
                )


async def hours(connection: AsyncConnection, since: datetime) -> list[TrafficHour]:
    """Return what was used by the hour, the oldest first; hours without any are left out."""
    found = await connection.execute(
        select(traffic_hours.c.hour, *_sums(traffic_hours, "requests", "inputs", "tokens",
                                            "charged_nanos"))
        .where(traffic_hours.c.hour >= since)
        .group_by(traffic_hours.c.hour)
        .order_by(traffic_hours.c.hour)
    )  # fmt: skip
    return [TrafficHour(**row) for row in found.mappings()]


async def models(connection: AsyncConnection, since: datetime, limit: int) -> list[ModelTraffic]:
    """Return the models that brought most."""
    requests, tokens, charged = _sums(traffic_hours, "requests", "tokens", "charged_nanos")
    found = await connection.execute(
        select(traffic_hours.c.model_id, requests, tokens, charged)
        .where(traffic_hours.c.hour >= since)
        .group_by(traffic_hours.c.model_id)
        .order_by(charged.desc(), traffic_hours.c.model_id)
        .limit(limit)
    )
    return [ModelTraffic(**row) for row in found.mappings()]


async def answered(connection: AsyncConnection, since: datetime) -> list[AnswerSum]:
    """Return how requests were answered, the oldest hour first."""
    found = await connection.execute(
        select(traffic_answers)
        .where(traffic_answers.c.hour >= since)
        .order_by(traffic_answers.c.hour)
    )
    return [AnswerSum(**row) for row in found.mappings()]


async def leaders(connection: AsyncConnection, day: date) -> list[Leader]:
    """Return the organizations that spent most on a day."""
    top = traffic_leaders.c
    found = await connection.execute(
        select(
            top.organization_id, organizations.c.name, top.requests, top.tokens, top.charged_nanos
        )
        .join(organizations, organizations.c.id == top.organization_id)
        .where(top.day == day)
        .order_by(top.place)
    )
    return [Leader(**row) for row in found.mappings()]


async def forget_old(connection: AsyncConnection) -> None:
    """Remove sums that are past their time."""
    end = wall.now() - KEPT
    for table in (traffic_hours, traffic_answers, model_answers):
        await connection.execute(delete(table).where(table.c.hour < end))
    await connection.execute(delete(traffic_leaders).where(traffic_leaders.c.day < end.date()))


def _usage_between(start: datetime, end: datetime) -> Select[Any]:
    table = usage_hours.c
    return (
        select(table.hour, table.model_id, *_sums(usage_hours, "requests", "inputs", "tokens",
                                                  "charged_nanos"))
        .where(table.hour >= start, table.hour < end)
        .group_by(table.hour, table.model_id)
        .order_by(table.hour, table.model_id)
    )  # fmt: skip


def _answers_between(start: datetime, end: datetime) -> Select[Any]:
    table = answer_hours.c
    keys = (table.hour, table.status_class, table.latency_ms)
    return (
        select(*keys, *_sums(answer_hours, "answers"))
        .where(table.hour >= start, table.hour < end)
        .group_by(*keys)
        .order_by(*keys)
    )


def _sums(table: Table, *names: str) -> list[Any]:
    return [total(table.c[name]).label(name) for name in names]


async def _store(
    connection: AsyncConnection, table: Table, keys: Sequence[str], rows: Sequence[Row[Any]]
) -> None:
    """Replace sums by newer ones."""
    if not rows:
        return
    added = insert_into(connection, table)
    newer = {name: added.excluded[name] for name in table.c.keys() if name not in keys}  # noqa: SIM118
    await connection.execute(
        added.on_conflict_do_update(index_elements=list(keys), set_=newer),
        [dict(row._mapping) for row in rows],  # noqa: SLF001 - SQLAlchemy's public name
    )
