"""What happened to the catalog, for the changelog: launches, and prices that changed or will.

Kept in memory and refreshed by a job, so page views need no database queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, ScalarSelect, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.snapshots import Tier
from gateway.storage.database import Database
from gateway.storage.tables import launches, model_prices, models, price_changes

NEWS_SECONDS = 60.0
"""How often it is read."""
NEWS_MAX = 200
"""Most items of each kind: the newest."""


class NewsItem(NamedTuple):
    """Something that happened to a model, or will."""

    kind: Literal["launch", "price"]
    model_id: str
    at: datetime
    tier: Tier = "default"
    nanos_per_million_tokens: int = 0
    former_nanos: int = 0
    """What a million tokens cost before; 0 for a launch."""

    @property
    def is_to_come(self) -> bool:
        """Whether it is yet to happen."""
        return self.at > wall.now()


class CatalogNews:
    """The latest items, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.items: Sequence[NewsItem] = ()

    async def refresh(self) -> None:
        """Read them. What was known stays if that fails."""
        async with self._database.read() as connection:
            found = [
                *await _launched(connection),
                *await _changed(connection),
                *await _to_come(connection),
            ]
        self.items = sorted(found, key=lambda item: (item.at, item.model_id), reverse=True)


async def _launched(connection: AsyncConnection) -> list[NewsItem]:
    rows = await connection.execute(
        select(launches.c.model_id, launches.c.launched_at, model_prices.c.nanos_per_million_tokens)
        .join(models, models.c.id == launches.c.model_id)
        .join(model_prices, model_prices.c.id == launches.c.price_id)
        .where(models.c.state == "live")
        .order_by(launches.c.launched_at.desc())
        .limit(NEWS_MAX)
    )
    return [
        NewsItem(
            "launch", row.model_id, row.launched_at,
            nanos_per_million_tokens=row.nanos_per_million_tokens,
        )
        for row in rows
    ]  # fmt: skip


async def _changed(connection: AsyncConnection) -> list[NewsItem]:
    """Return changes of the prices of live models, since each launched."""
    price = model_prices.c.nanos_per_million_tokens
    former = func.lag(price).over(
        partition_by=(model_prices.c.model_id, model_prices.c.tier),
        order_by=(model_prices.c.created_at, model_prices.c.id),
    )
    versions = (
        select(
            model_prices.c.model_id, model_prices.c.tier, model_prices.c.created_at,
            price, former.label("former"),
        )
        .join(models, models.c.id == model_prices.c.model_id)
        .where(models.c.state == "live")
        .subquery()
    )  # fmt: skip
    since = launches.c.launched_at
    rows = await connection.execute(
        select(versions)
        .outerjoin(launches, launches.c.model_id == versions.c.model_id)
        .where(
            versions.c.former != versions.c.nanos_per_million_tokens,
            or_(since.is_(None), versions.c.created_at > since),
        )
        .order_by(versions.c.created_at.desc())
        .limit(NEWS_MAX)
    )
    return [
        NewsItem(
            "price", row.model_id, row.created_at, row.tier, row.nanos_per_million_tokens,
            row.former,
        )
        for row in rows
    ]  # fmt: skip


async def _to_come(connection: AsyncConnection) -> list[NewsItem]:
    """Return the prices of live models that will apply."""
    rows = await connection.execute(
        select(
            price_changes.c.model_id, price_changes.c.effective_at, price_changes.c.tier,
            price_changes.c.nanos_per_million_tokens,
            func.coalesce(_newest(price_changes.c.tier), _newest("default"), 0).label("former"),
        )
        .join(models, models.c.id == price_changes.c.model_id)
        .where(
            models.c.state == "live",
            price_changes.c.price_id.is_(None),
            price_changes.c.canceled_at.is_(None),
        )
        .order_by(price_changes.c.effective_at)
        .limit(NEWS_MAX)
    )  # fmt: skip
    return [
        NewsItem(
            "price", row.model_id, row.effective_at, row.tier, row.nanos_per_million_tokens,
            row.former,
        )
        for row in rows
    ]  # fmt: skip


def _newest(tier: ColumnElement[str] | str) -> ScalarSelect[int]:
    """Select the price that applies to the model of a change."""
    return (
        select(model_prices.c.nanos_per_million_tokens)
        .where(model_prices.c.model_id == price_changes.c.model_id, model_prices.c.tier == tier)
        .order_by(model_prices.c.created_at.desc(), model_prices.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
