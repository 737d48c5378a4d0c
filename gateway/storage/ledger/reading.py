"""Reads the ledger: usage by day, credit held in leases, and who spent bought credit."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, Text, case, cast, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import (
    accounts,
    credit_lots,
    leases,
    ledger_entries,
    total,
    types,
    usage_days,
)


class UsageDay(msgspec.Struct, frozen=True):
    """What a key used of a model on a UTC day."""

    day: date
    key_id: str
    model_id: str
    requests: int
    inputs: int
    tokens: int
    charged_nanos: int


class Place(NamedTuple):
    """Where a page of days ends: the next one starts after it."""

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
) -> list[UsageDay]:
    """Return sums by day, key and model, the newest day first, after the end of the last page."""
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
    return [UsageDay(*row) for row in (await connection.execute(query)).all()]


def leased_unspent() -> ColumnElement[int]:
    """Return, for a query over `accounts`, the nano-dollars that leases hold and have not spent.

    What open leases have spent and not posted yet counts as spent.
    """
    unposted = (
        select(total(leases.c.spent_nanos - leases.c.posted_nanos))
        .where(leases.c.account_id == accounts.c.id, leases.c.state == "open")
        .correlate(accounts)
        .scalar_subquery()
    )
    return accounts.c.leased_nanos - unposted


async def spenders(
    connection: AsyncConnection,
    organizations: Select[tuple[str]],
    *,
    since: datetime,
    until: datetime,
) -> set[str]:
    """Return those organizations that spent bought credit in a time, `since` included.

    Usage burns promo credit first, so what exceeds the promo credit granted so far was bought. It
    was spent in that time if this excess reached a new maximum in it.
    """
    entry = ledger_entries.c
    lot = (
        select(credit_lots.c.kind)
        .where(
            credit_lots.c.organization_id == entry.organization_id,
            cast(credit_lots.c.id, Text) == entry.ref,
        )
        .scalar_subquery()
    )
    counts = case(
        (entry.kind == "usage", 1),
        ((entry.kind == "grant") & (entry.counterpart == "promo_expense"), 1),
        ((entry.kind == "expiry") & (lot == "promo"), 1),
        else_=0,
    )
    beyond_promo = func.sum(-entry.amount_nanos * counts).over(
        partition_by=entry.organization_id, order_by=entry.id
    )
    line = (
        select(entry.organization_id, entry.kind, entry.created_at, beyond_promo.label("nanos"))
        .where(entry.organization_id.in_(organizations))
        .subquery()
    )
    is_within = (line.c.kind == "usage") & (line.c.created_at >= since)
    found = await connection.execute(
        select(
            line.c.organization_id,
            func.max(case((line.c.created_at < since, line.c.nanos), else_=0)).label("before"),
            func.max(case((is_within, line.c.nanos), else_=0)).label("within"),
        )
        .where(line.c.created_at < until)
        .group_by(line.c.organization_id)
    )
    return {row.organization_id for row in found if row.within > row.before}
