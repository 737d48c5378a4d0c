"""Usage as people ask for it: sums by day, key and model, from the sums by the day."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Select, Text, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import total, types, usage_days


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
    days = usage_days.c
    place = (days.day, days.key_id, days.model_id)
    sums = (total(days[name]) for name in ("requests", "inputs", "tokens", "charged_nanos"))
    query: Select[Any] = select(*place, *sums).where(days.organization_id == organization_id)
    if key_id is not None:
        query = query.where(days.key_id == key_id)
    if model_id is not None:
        query = query.where(days.model_id == model_id)
    if after is not None:
        end = (
            literal(after.day, types.Day),
            literal(after.key_id, types.Id),
            literal(after.model_id, Text),
        )
        query = query.where(tuple_(*place) < tuple_(*end))
    query = query.group_by(*place).order_by(*(column.desc() for column in place)).limit(limit)
    return [
        Day(
            day=row[0],
            key_id=row[1],
            model_id=row[2],
            requests=row[3],
            inputs=row[4],
            tokens=row[5],
            charged_nanos=row[6],
        )
        for row in (await connection.execute(query)).all()
    ]
