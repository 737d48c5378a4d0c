"""The service at a glance, from sums by the hour: how requests were answered, and who came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.status.answers import percentile
from gateway.identifiers import first_id
from gateway.storage.tables import organizations, total, traffic_answers

_SUCCESS = 2


async def answers_by_hour(
    connection: AsyncConnection, since: datetime
) -> Mapping[datetime, Mapping[int, int]]:
    """Return answers by hour and class of status; hours without any are left out."""
    table = traffic_answers.c
    found = await connection.execute(
        select(table.hour, table.status_class, total(table.answers).label("answers"))
        .where(table.hour >= since)
        .group_by(table.hour, table.status_class)
    )
    hours: dict[datetime, dict[int, int]] = defaultdict(dict)
    for row in found:
        hours[row.hour][row.status_class] = row.answers
    return hours


async def p95_ms(
    connection: AsyncConnection, today: tuple[datetime, datetime], before: tuple[datetime, datetime]
) -> tuple[int | None, int | None]:
    """Return the latency of two times: the bound that 95% of the successes did not exceed."""
    table = traffic_answers.c
    is_today = case((table.hour >= today[0], 1), else_=0).label("is_today")
    found = await connection.execute(
        select(is_today, table.latency_ms, total(table.answers).label("answers"))
        .where(
            table.status_class == _SUCCESS,
            table.hour.between(*today) | table.hour.between(*before),
        )
        .group_by(is_today, table.latency_ms)
    )
    counts: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for row in found:
        counts[1 - row.is_today][row.latency_ms] = row.answers
    return percentile(counts[0], 95), percentile(counts[1], 95)


async def new_organizations(
    connection: AsyncConnection, today: tuple[datetime, datetime], before: tuple[datetime, datetime]
) -> tuple[int, int]:
    """Return how many organizations were made in two times, by their ids."""

    def made(between: tuple[datetime, datetime]) -> object:
        ids = organizations.c.id
        query = select(func.count()).where(ids >= first_id(between[0]), ids < first_id(between[1]))
        return query.scalar_subquery()

    row = (await connection.execute(select(made(today), made(before)))).one()  # type: ignore[call-overload]
    return row[0], row[1]
