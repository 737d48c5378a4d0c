"""The downtime of each model, as far back as the status page can know.

The history begins when this database was set up. Times without a running gateway are not recorded;
the page says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import incidents, models

_INCIDENTS_MAX = 10_000


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Downtime over some days, or since the database was set up if that is shorter."""

    since: datetime
    is_whole: bool
    """Whether `since` reaches back as far as was asked for."""
    minutes_down: Mapping[str, int]
    """Minutes without a ready worker, rounded up, by model; models without downtime are absent."""


async def history(connection: AsyncConnection, days: int, now: datetime) -> History:
    """Read the history. Incidents count with their part in these days."""
    asked = now - timedelta(days=days)
    # the first `gateway migrate` seeds the catalog
    first = await connection.scalar(select(func.min(models.c.created_at))) or now
    since = max(asked, first)
    seconds: Counter[str] = Counter()
    found = await connection.execute(
        select(incidents.c.model_id, incidents.c.started_at, incidents.c.ended_at)
        .where(or_(incidents.c.ended_at.is_(None), incidents.c.ended_at > since))
        .order_by(incidents.c.started_at.desc())
        .limit(_INCIDENTS_MAX)
    )
    for model_id, started_at, ended_at in found:
        lasted = (ended_at or now) - max(started_at, since)
        seconds[model_id] += max(0, round(lasted.total_seconds()))
    return History(
        since=since,
        is_whole=first <= asked,
        minutes_down={model_id: -(-some // 60) for model_id, some in seconds.items() if some},
    )
