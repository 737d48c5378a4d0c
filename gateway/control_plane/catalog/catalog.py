"""The catalog: its data file, its rows, and the snapshot that the data plane reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, get_args

import msgspec
import structlog
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.catalog import cards, edits, golden
from gateway.control_plane.catalog.cards import ModelCard, ReviewedModel
from gateway.control_plane.catalog.edits import CardEdits
from gateway.identifiers import new_id
from gateway.snapshots import Catalog, GoldenRow, ModelSnapshot, PriceSnapshot, State, Tier
from gateway.storage.database import Database
from gateway.storage.tables import catalog_versions, model_prices, models

log = structlog.get_logger()


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


async def seed(connection: AsyncConnection) -> None:
    """Update the database from models.toml, except what operators set; repeatable.

    Where an edit contradicts the file as it is now, the card stays as it was until an operator
    changes one of them: `gateway models diff` shows both.
    """
    await golden.lock_catalog(connection)
    files = cards.reviewed()
    ids = [model.id for model in files]
    found = await connection.execute(select(models).where(models.c.id.in_(ids)))
    stored = {row.id: row for row in found}
    prices = await _prices_of(connection, ids)
    new_models, new_prices, now = [], [], wall.now()
    for model in files:
        row = stored.get(model.id)
        ours = edits.read_edits(row.card_edits) if row else CardEdits()
        try:
            merged = edits.merged(edits.fields_of(cards.as_card(model)), ours.card, ModelCard)
        except msgspec.ValidationError as error:
            log.warning("edits of a model do not fit its file", model=model.id, reason=str(error))
            continue
        card = msgspec.json.encode(merged).decode()
        if row is None:
            new_models.append(
                {"id": model.id, "state": model.state, "card": card, "created_at": now}
            )
        elif row.card != card:
            change = update(models).where(models.c.id == model.id)
            await connection.execute(change.values(card=card))
        if not ours.price:
            known = prices.get(model.id, {})
            new_prices += _file_prices(model, row.state if row else model.state, known, now)
    if new_models:
        await connection.execute(insert(models), new_models)
    if new_prices:
        await connection.execute(insert(model_prices), new_prices)
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
            created_at=wall.now(),
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


async def _prices_of(
    connection: AsyncConnection, ids: Collection[str]
) -> dict[str, dict[str, int]]:
    """Return the newest prices of some models, by model and tier."""
    query = select(
        model_prices.c.model_id, model_prices.c.tier, model_prices.c.nanos_per_million_tokens
    ).where(model_prices.c.model_id.in_(ids))
    newest: dict[str, dict[str, int]] = {}
    for row in await connection.execute(query.order_by(model_prices.c.id)):
        newest.setdefault(row.model_id, {})[row.tier] = row.nanos_per_million_tokens
    return newest


def _file_prices(
    model: ReviewedModel, state: State, known: Mapping[str, int], now: datetime
) -> list[dict[str, Any]]:
    """Return the file's prices as new versions: only until the model is live with its prices."""
    if state != "coming_soon" and len(known) == len(get_args(Tier)):
        return []
    says = {
        "default": model.nanos_per_million_tokens,
        "flex": model.flex_nanos_per_million_tokens,
    }
    return [
        {"id": new_id(), "model_id": model.id, "tier": tier, "nanos_per_million_tokens": nanos,
         "created_at": now}
        for tier, nanos in says.items() if known.get(tier) != nanos
    ]  # fmt: skip


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
        vocabulary_sha256=card.vocabulary_sha256 or None,
        prompts=card.prompts,
        query_prompt=card.query_prompt,
        document_prompt=card.document_prompt,
        golden=golden_rows,
        created=int(row.created_at.timestamp()),
        owned_by=card.owned_by,
        license=card.license,
        words=row.page_edits or "",
    )
