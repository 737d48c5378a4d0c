"""Usage as people ask for it: sums by day, key and model, from the sums by the hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Select, Text, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import usage_hours
from gateway.storage.tables.types import Id


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What a key used of a model on a day of UTC."""

    day: date
    key_id: str
    model_id: str
    requests: int
    inputs: int
    tokens: int
    charged_nanos: int


class Place(NamedTuple):
    """Where a page of days ended."""

    day: date
    key_id: str
    model_id: str


async def by_day(
    connection: AsyncConnection,
    organization_id: str,
    *,
    after: Place | None = None,
    limit: int = 100,
    key_id: str | None = None,
    model_id: str | None = None,
) -> list[Day]:
    """Sum by day, key and model, the newest day first, from the place where a page ended."""
    hours = usage_hours.c
    day: Any = func.substr(hours.hour, 1, 10)
    if connection.dialect.name == "postgresql":
        day = func.to_char(func.timezone("UTC", hours.hour), "YYYY-MM-DD")
    place = (day, hours.key_id, hours.model_id)
    sums = (func.sum(hours[name]) for name in ("requests", "inputs", "tokens", "charged_nanos"))
    query: Select[Any] = select(*place, *sums).where(hours.organization_id == organization_id)
    if key_id is not None:
        query = query.where(hours.key_id == key_id)
    if model_id is not None:
        query = query.where(hours.model_id == model_id)
    if after is not None:
        end = datetime.combine(after.day, time(), UTC) + timedelta(days=1)
        query = query.where(
            hours.hour < end,  # which the index can use
            tuple_(*place)
            < tuple_(
                literal(after.day.isoformat(), Text),
                literal(after.key_id, Id),
                literal(after.model_id, Text),
            ),
        )
    query = query.group_by(*place).order_by(*(column.desc() for column in place)).limit(limit)
    return [
        Day(
            day=date.fromisoformat(row[0]),
            key_id=row[1],
            model_id=row[2],
            requests=int(row[3]),
            inputs=int(row[4]),
            tokens=int(row[5]),
            charged_nanos=int(row[6]),
        )
        for row in (await connection.execute(query)).all()
    ]
