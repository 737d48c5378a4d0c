"""The catalog: its data file, its rows, and the snapshot that the data plane reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.catalog import golden
from gateway.identifiers import new_id
from gateway.snapshots import Catalog, GoldenRow, ModelSnapshot, PriceSnapshot, State, Tier
from gateway.storage.database import Database
from gateway.storage.tables import catalog_versions, model_prices, models

_FILE = Path(__file__).parent / "models.toml"


class PublishedCatalog:
    """The current snapshot, refreshed from the database.

    The snapshot and each model in it stay the same objects until they change, so that callers can
    cache what they derive from them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._current = Catalog()
        self._version = 0

    def __call__(self) -> Catalog:
        """Return the current snapshot."""
        return self._current

    async def refresh(self) -> None:
        """Read what changed since the last refresh; on an error the snapshot stays."""
        async with self._database.read() as connection:
            version = await connection.scalar(select(catalog_versions.c.version))
            assert version is not None
            if version == self._version:
                return
            changed = await changed_since(connection, self._version)
        together = {**self._current.models, **changed}
        self._current = Catalog({name: together[name] for name in sorted(together)})
        # a change committed between the two queries is read again next time, never missed
        self._version = version


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a model except its state and price."""

    owned_by: str
    license: str
    dimensions: list[int]
    dimensions_default: int
    derived_dimensions: dict[int, int] = {}
    tokens_max: int
    vocabulary_sha256: str
    prompts: dict[str, str] = {}
    query_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.dimensions_default not in self.dimensions:
            raise ValueError("dimensions_default is not one of the dimensions")
        if not set(self.derived_dimensions) <= set(self.dimensions):
            raise ValueError("a derived dimension is not one of the dimensions")
        if self.query_prompt is not None and self.query_prompt not in self.prompts:
            raise ValueError("query_prompt is not one of the prompts")


class ReviewedModel(ModelCard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of models.toml."""

    id: str
    state: State
    nanos_per_million_tokens: int
    flex_nanos_per_million_tokens: int


def reviewed() -> list[ReviewedModel]:
    """Read models.toml."""
    tables = msgspec.toml.decode(
        _FILE.read_bytes(), type=dict[str, list[ReviewedModel]], strict=False
    )
    return tables["models"]


async def seed(connection: AsyncConnection) -> None:
    """Update the database from models.toml; repeating it changes nothing."""
    await golden.lock_catalog(connection)
    for model in reviewed():
        card = msgspec.json.encode(msgspec.convert(model, ModelCard, from_attributes=True)).decode()
        changed = await connection.execute(
            update(models).where(models.c.id == model.id).values(card=card)
        )
        if not changed.rowcount:
            await connection.execute(
                insert(models).values(
                    id=model.id, state=model.state, card=card, created_at=datetime.now(UTC)
                )
            )
        if await _price_is_an_estimate(connection, model.id):
            await set_price(connection, model.id, model.nanos_per_million_tokens)
            await set_price(connection, model.id, model.flex_nanos_per_million_tokens, tier="flex")
    await golden.seed(connection)


async def set_state(connection: AsyncConnection, model_id: str, state: State) -> None:
    """Set a model's state."""
    await golden.lock_catalog(connection)
    await connection.execute(update(models).where(models.c.id == model_id).values(state=state))


async def set_price(
    connection: AsyncConnection,
    model_id: str,
    nanos_per_million_tokens: int,
    *,
    tier: Tier = "default",
) -> str:
    """Add a new version of a model's price, unless it is unchanged; return the version's id."""
    await golden.lock_catalog(connection)
    newest = await newest_price(connection, model_id, tier)
    if newest and newest.nanos_per_million_tokens == nanos_per_million_tokens:
        return newest.id
    price_id = new_id()
    await connection.execute(
        insert(model_prices).values(
            id=price_id,
            model_id=model_id,
            tier=tier,
            nanos_per_million_tokens=nanos_per_million_tokens,
            created_at=datetime.now(UTC),
        )
    )
    return price_id


async def newest_price(
    connection: AsyncConnection, model_id: str, tier: Tier
) -> PriceSnapshot | None:
    """Return the newest version of a model's price."""
    found = await connection.execute(
        select(model_prices.c.id, model_prices.c.nanos_per_million_tokens)
        .where(model_prices.c.model_id == model_id, model_prices.c.tier == tier)
        .order_by(model_prices.c.id.desc())
        .limit(1)
    )
    row = found.one_or_none()
    return None if row is None else PriceSnapshot(row.id, row.nanos_per_million_tokens)


async def newest_prices(
    connection: AsyncConnection, model_ids: Collection[str]
) -> dict[str, PriceSnapshot]:
    """Return the newest default price of some models."""
    query = select(
        model_prices.c.model_id, model_prices.c.id, model_prices.c.nanos_per_million_tokens
    ).where(model_prices.c.model_id.in_(model_ids), model_prices.c.tier == "default")
    found = await connection.execute(query.order_by(model_prices.c.id))
    return {row.model_id: PriceSnapshot(row.id, row.nanos_per_million_tokens) for row in found}


async def snapshot(connection: AsyncConnection) -> Catalog:
    """Read the whole catalog, each model with its newest price."""
    return Catalog(await changed_since(connection, 0))


async def changed_since(connection: AsyncConnection, version: int) -> dict[str, ModelSnapshot]:
    """Read the models that changed after a version of the catalog, by id."""
    newer = models.c.version > version
    some = select(models.c.id).where(newer)
    found = (await connection.execute(select(models).where(newer).order_by(models.c.id))).all()
    versions = select(model_prices).where(model_prices.c.model_id.in_(some))
    prices = {
        (row.model_id, row.tier): PriceSnapshot(row.id, row.nanos_per_million_tokens)
        for row in await connection.execute(versions.order_by(model_prices.c.id))
    }
    rows = await golden.by_model(connection, some)
    return {row.id: _model(row, prices, rows.get(row.id, {})) for row in found}


async def _price_is_an_estimate(connection: AsyncConnection, model_id: str) -> bool:
    """Tell whether models.toml still sets the price: until the model is live with one."""
    state = await connection.scalar(select(models.c.state).where(models.c.id == model_id))
    if state == "coming_soon":
        return True
    tiers = await connection.scalars(
        select(model_prices.c.tier).where(model_prices.c.model_id == model_id).distinct()
    )
    return len(tiers.all()) < len(get_args(Tier))


def _model(
    row: Row[*tuple[Any, ...]],
    prices: Mapping[tuple[str, str], PriceSnapshot],
    golden_rows: Mapping[str, tuple[GoldenRow, ...]],
) -> ModelSnapshot:
    card = msgspec.json.decode(row.card, type=ModelCard)
    return ModelSnapshot(
        id=row.id,
        state=row.state,
        price=prices[row.id, "default"],
        flex_price=prices.get((row.id, "flex")),
        dimensions=tuple(card.dimensions),
        dimensions_default=card.dimensions_default,
        derived_dimensions=card.derived_dimensions,
        tokens_max=card.tokens_max,
        vocabulary_sha256=card.vocabulary_sha256,
        prompts=card.prompts,
        query_prompt=card.query_prompt,
        golden=golden_rows,
        created=int(row.created_at.timestamp()),
        owned_by=card.owned_by,
        license=card.license,
    )
