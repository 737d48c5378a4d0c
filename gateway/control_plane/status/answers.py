"""Errors and latency of an organization's requests, and those of each model, from hourly sums.

The data plane counts in memory; `Answered.flush` adds its counts to the sums. If the outcome of a
commit is unknown, the counts are added again: these are statistics, not money.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from msgspec.structs import astuple
from sqlalchemy import Table, case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.tallies import AnswerEntry, AnswerTally, ErrorEntry
from gateway.storage.database import Database, alone, in_parts, insert_into
from gateway.storage.tables import (
    answer_days,
    answer_hours,
    error_days,
    error_hours,
    latency_days,
    latency_hours,
    model_answers,
    total,
)

_SUCCESS = 2
LATENCY_HOURS_DAYS = 4
"""Latencies by key and model are kept by the hour for so long; by the day, as long as the rest."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of this month and of today, and today's latency."""

    answers_month: int
    errors_month: int
    answers_today: int
    errors_today: int
    p50_ms: int | None
    """Median latency of today's successes; None without any."""
    p95_ms: int | None
    last_hour: datetime | None
    """The hour of the last answer of this month."""


class Answered:
    """Adds the data plane's counts to the hourly sums; `flush` is a job."""

    def __init__(self, database: Database, tally: AnswerTally) -> None:
        self._database = database
        self._tally = tally

    async def flush(self) -> None:
        """Write the counts; on an error they are kept for the next time."""
        with self._tally.draining() as counts:
            if counts.answers:
                rows = await _rows(counts.answers, counts.errors)
                async with self._database.write() as connection:
                    # around a full hour, two processes would wait for each other's days
                    await alone(connection, "answers")
                    for table, sums in rows.items():
                        await _add(connection, table, sums)


async def summary(connection: AsyncConnection, organization_id: str, today: date) -> Summary:
    """Return an organization's summary, with one query."""
    days, hours, month = answer_days.c, answer_hours.c, today.replace(day=1)
    on_the_day = case((days.day == today, days.answers), else_=0)
    last = select(func.max(hours.hour, type_=hours.hour.type)).where(
        hours.organization_id == organization_id,
        hours.hour >= datetime.combine(month, time(), UTC),
    )
    found = await connection.execute(
        select(
            days.status_class,
            days.latency_ms,
            total(days.answers).label("month"),
            total(on_the_day).label("today"),
            last.scalar_subquery().label("last"),
        )
        .where(days.organization_id == organization_id, days.day >= month)
        .group_by(days.status_class, days.latency_ms)
    )
    rows = found.all()
    errors = [row for row in rows if row.status_class != _SUCCESS]
    latencies = {row.latency_ms: row.today for row in rows if row.status_class == _SUCCESS}
    return Summary(
        answers_month=sum(row.month for row in rows),
        errors_month=sum(row.month for row in errors),
        answers_today=sum(row.today for row in rows),
        errors_today=sum(row.today for row in errors),
        p50_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
        last_hour=rows[0].last if rows else None,
    )


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """Return the lowest bound that `percent` of the counted values do not exceed."""
    total = sum(counts.values())
    if not total:
        return None
    below = 0
    for bound in sorted(counts):
        below += counts[bound]
        if below * 100 >= total * percent:
            return bound
    raise AssertionError("no value exceeds the last bound")


async def forget_old(connection: AsyncConnection, days: int) -> None:
    """Delete organizations' sums older than `days`."""
    now = wall.now()
    end = now - timedelta(days=days)
    for table in (answer_hours, error_hours):
        await connection.execute(delete(table).where(table.c.hour < end))
    for table in (answer_days, error_days, latency_days):
        await connection.execute(delete(table).where(table.c.day < end.date()))
    recent = now - timedelta(days=min(days, LATENCY_HOURS_DAYS))
    await connection.execute(delete(latency_hours).where(latency_hours.c.hour < recent))


async def _rows(
    answers: Counter[AnswerEntry], errors: Counter[ErrorEntry]
) -> Mapping[Table, Counter[tuple[Any, ...]]]:
    """Return what is added to each table, by its primary key."""
    by_organization, by_model, by_hour, by_day = (Counter[tuple[Any, ...]]() for _ in range(4))
    for part in in_parts(answers.items()):
        for one, count in part:
            organization_id, key_id, model_id = one.organization_id, one.key_id, one.model_id
            hour = _start(one.hour)
            by_organization[organization_id, hour, one.status_class, one.latency_ms] += count
            by_model[hour, model_id, one.status_class, one.latency_ms] += count
            if one.status_class == _SUCCESS:
                by_hour[organization_id, hour, key_id, model_id, one.latency_ms] += count
                by_day[organization_id, hour.date(), key_id, model_id, one.latency_ms] += count
        await asyncio.sleep(0)  # let requests run
    return {
        answer_hours: by_organization,
        model_answers: by_model,
        latency_hours: by_hour,
        latency_days: by_day,
        error_hours: Counter(
            {
                (one.organization_id, _start(one.hour), *astuple(one)[2:]): count
                for one, count in errors.items()
            }
        ),
    }


def _start(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3_600, UTC)


async def _add(connection: AsyncConnection, table: Table, sums: Counter[tuple[Any, ...]]) -> None:
    keys = [column.name for column in table.primary_key]
    (counted,) = (column for column in table.columns if not column.primary_key)
    added = insert_into(connection, table)
    more = added.on_conflict_do_update(
        index_elements=keys, set_={counted.name: counted + added.excluded[counted.name]}
    )
    for part in in_parts(sorted(sums.items())):  # in one order, so that processes never deadlock
        rows = [{**dict(zip(keys, key, strict=True)), counted.name: count} for key, count in part]
        await connection.execute(more, rows)
