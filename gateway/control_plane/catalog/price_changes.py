"""Price changes: prices that will apply from a set moment on.

At that moment a job makes the change a version of the price; until then it has no effect.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.catalog import catalog, golden
from gateway.identifiers import is_id, new_id
from gateway.snapshots import Tier
from gateway.storage.database import Database
from gateway.storage.tables import model_prices, price_changes

_AT_ONCE = 100
_LISTED_MAX = 1_000


class PriceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A price that will apply."""

    id: str
    model_id: str
    tier: Tier
    nanos_per_million_tokens: int
    effective_at: datetime
    created_at: datetime


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A price that applied from a moment on."""

    id: str
    tier: Tier
    nanos_per_million_tokens: int
    created_at: datetime


async def schedule(
    connection: AsyncConnection,
    model_id: str,
    nanos_per_million_tokens: int,
    *,
    tier: Tier,
    effective_at: datetime,
    is_rise: bool,
) -> str:
    """Set a price from a moment on; return the change's id. An increase will be announced."""
    change_id, now = new_id(), wall.now()
    await connection.execute(
        insert(price_changes).values(
            id=change_id,
            model_id=model_id,
            tier=tier,
            nanos_per_million_tokens=nanos_per_million_tokens,
            effective_at=effective_at,
            created_at=now,
            announced_at=None if is_rise else now,
        )
    )
    return change_id


async def cancel(connection: AsyncConnection, change_id: str) -> PriceChange | None:
    """Cancel a change; return it, or None if there is no such change still to come."""
    if not is_id(change_id):
        return None
    found = await connection.execute(
        update(price_changes)
        .where(price_changes.c.id == change_id, _waits())
        .values(canceled_at=wall.now())
        .returning(*_columns())
    )
    row = found.mappings().one_or_none()
    return PriceChange(**row) if row else None


async def apply_due(database: Database) -> int:
    """Make due changes new versions of their prices; return how many."""
    due = _waits() & (price_changes.c.effective_at <= wall.now())
    async with database.read() as connection:  # avoid the write lock if nothing is due
        if await connection.scalar(select(price_changes.c.id).where(due).limit(1)) is None:
            return 0
    async with database.write() as connection:
        await golden.lock_catalog(connection)
        query = select(*_columns()).where(due).order_by(price_changes.c.effective_at)
        found = (await connection.execute(query.limit(_AT_ONCE))).mappings().all()
        for change in [PriceChange(**row) for row in found]:
            price_id = await catalog.set_price(
                connection, change.model_id, change.nanos_per_million_tokens, tier=change.tier
            )
            await connection.execute(
                update(price_changes)
                .where(price_changes.c.id == change.id)
                .values(price_id=price_id)
            )
    return len(found)


async def waiting(connection: AsyncConnection, model_id: str) -> list[PriceChange]:
    """Return the changes of a model that have not applied yet, the next one first."""
    query = select(*_columns()).where(price_changes.c.model_id == model_id, _waits())
    found = await connection.execute(query.order_by(price_changes.c.effective_at))
    return [PriceChange(**row) for row in found.mappings()]


async def in_force(
    connection: AsyncConnection, model_id: str, tier: Tier, at: datetime | None = None
) -> int | None:
    """Return the price of a tier just before a moment, or now; None for an unknown model."""
    if at is not None:
        coming = [c for c in await waiting(connection, model_id) if c.tier == tier]
        if sooner := [c for c in coming if c.effective_at < at]:
            return sooner[-1].nanos_per_million_tokens
    newest = await catalog.newest_price(connection, model_id, tier)
    newest = newest or await catalog.newest_price(connection, model_id, "default")
    return newest.nanos_per_million_tokens if newest else None


async def unannounced(connection: AsyncConnection) -> list[PriceChange]:
    """Return coming increases that are not fully announced, the oldest first."""
    query = select(*_columns()).where(_waits(), price_changes.c.announced_at.is_(None))
    found = await connection.execute(query.order_by(price_changes.c.id).limit(_AT_ONCE))
    return [PriceChange(**row) for row in found.mappings()]


async def announced(connection: AsyncConnection, change_id: str) -> None:
    """Note that an increase was announced to everyone."""
    change = update(price_changes).where(price_changes.c.id == change_id)
    await connection.execute(change.values(announced_at=wall.now()))


class PricesToCome:
    """Coming price changes, kept in memory for public pages; `refresh` is a job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._coming: dict[str, list[PriceChange]] = {}

    def of(self, model_id: str) -> list[PriceChange]:
        """Return the changes of a model that have not applied yet, the next one first."""
        return self._coming.get(model_id, [])

    async def refresh(self) -> None:
        """Read the coming changes from the database."""
        query = select(*_columns()).where(_waits()).order_by(price_changes.c.effective_at)
        coming: dict[str, list[PriceChange]] = {}
        async with self._database.read() as connection:
            for row in (await connection.execute(query.limit(_LISTED_MAX))).mappings():
                coming.setdefault(row["model_id"], []).append(PriceChange(**row))
        self._coming = coming


async def next_of_all(connection: AsyncConnection) -> dict[str, PriceChange]:
    """Return the next change of each model that has one."""
    query = select(*_columns()).where(_waits()).order_by(price_changes.c.effective_at.desc())
    found = await connection.execute(query.limit(_LISTED_MAX))
    return {row["model_id"]: PriceChange(**row) for row in found.mappings()}


async def versions(connection: AsyncConnection, model_id: str, limit: int) -> list[PriceVersion]:
    """Return the newest versions of a model's prices."""
    query = select(*(model_prices.c[name] for name in PriceVersion.__struct_fields__))
    query = query.where(model_prices.c.model_id == model_id).order_by(model_prices.c.id.desc())
    found = await connection.execute(query.limit(limit))
    return [PriceVersion(**row) for row in found.mappings()]


def _waits() -> ColumnElement[bool]:
    return price_changes.c.price_id.is_(None) & price_changes.c.canceled_at.is_(None)


def _columns() -> list[ColumnElement[object]]:
    return [price_changes.c[name] for name in PriceChange.__struct_fields__]
