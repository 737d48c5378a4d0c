"""Errors and latency of an organization's requests, and those of each model, from hourly sums.

The data plane counts in memory; `Answered.flush` adds its counts to the hours. If the outcome of a
commit is unknown, the counts are added again: these are statistics, not money.
"""

from __future__ import annotations

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
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import answer_hours, error_hours, model_answers, total

_SUCCESS = 2


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
                async with self._database.write() as connection:
                    for table, sums in _rows(counts.answers, counts.errors).items():
                        await _add(connection, table, sums)


async def summary(connection: AsyncConnection, organization_id: str, today: date) -> Summary:
    """Return an organization's summary, with one query."""
    hours = answer_hours.c
    midnight = datetime.combine(today, time(), UTC)
    on_the_day = case((hours.hour >= midnight, hours.answers), else_=0)
    found = await connection.execute(
        select(
            hours.status_class,
            hours.latency_ms,
            total(hours.answers).label("month"),
            total(on_the_day).label("today"),
            func.max(hours.hour).label("last"),
        )
        .where(hours.organization_id == organization_id, hours.hour >= midnight.replace(day=1))
        .group_by(hours.status_class, hours.latency_ms)
    )
    rows = [(row.status_class, row.latency_ms, row.month, row.today, row.last) for row in found]
    errors = [row for row in rows if row[0] != _SUCCESS]
    latencies = {row[1]: row[3] for row in rows if row[0] == _SUCCESS}
    return Summary(
        answers_month=sum(row[2] for row in rows),
        errors_month=sum(row[2] for row in errors),
        answers_today=sum(row[3] for row in rows),
        errors_today=sum(row[3] for row in errors),
        p50_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
        last_hour=max((row[4] for row in rows), default=None),
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
    """Delete an organization's hours older than `days`."""
    end = wall.now() - timedelta(days=days)
    for table in (answer_hours, error_hours):
        await connection.execute(delete(table).where(table.c.hour < end))


def _rows(
    answers: Counter[AnswerEntry], errors: Counter[ErrorEntry]
) -> Mapping[Table, Counter[tuple[Any, ...]]]:
    """Return what is added to each table, by its primary key."""
    by_organization, by_model = Counter[tuple[Any, ...]](), Counter[tuple[Any, ...]]()
    for one, count in answers.items():
        by_organization[one.organization_id, one.hour, one.status_class, one.latency_ms] += count
        by_model[one.hour, one.model_id, one.status_class, one.latency_ms] += count
    return {
        answer_hours: by_organization,
        model_answers: by_model,
        error_hours: Counter({astuple(one): count for one, count in errors.items()}),
    }


async def _add(connection: AsyncConnection, table: Table, sums: Counter[tuple[Any, ...]]) -> None:
    if not sums:
        return
    keys = [column.name for column in table.primary_key]
    (counted,) = (column for column in table.columns if not column.primary_key)
    added = insert_into(connection, table)
    rows = []
    for key, count in sorted(sums.items()):  # in one order, so that processes never deadlock
        row = {**dict(zip(keys, key, strict=True)), counted.name: count}
        row["hour"] = datetime.fromtimestamp(row["hour"] * 3_600, UTC)
        rows.append(row)
    await connection.execute(
        added.on_conflict_do_update(
            index_elements=keys, set_={counted.name: counted + added.excluded[counted.name]}
        ),
        rows,
    )
