"""The catalogue: reviewed, seeded once, priced in versions, published as a snapshot."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import event, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.catalog import cards, catalog, golden
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.pricing import cost_nanos
from gateway.snapshots import GoldenRow
from gateway.storage.database import Database
from gateway.storage.tables import model_prices, models
from testing.gateways import MODEL, STELLA


async def test_stella_is_what_its_page_promises(database: Database):
    async with database.read() as connection:
        stella = (await catalog.snapshot(connection)).models[STELLA]
    assert stella.state == "coming_soon"
    assert stella.dimensions == (256, 512, 768, 1024, 2048, 4096, 6144, 8192)
    assert (stella.dimensions_default, stella.derived_dimensions) == (1024, {512: 1024})
    assert stella.tokens_max == 512
    assert set(stella.prompts) == {"s2p_query", "s2s_query"}
    assert stella.vocabulary_sha256 == BERT_UNCASED_SHA256
    assert cost_nanos(stella.price, 1) == 8


async def test_seeding_again_changes_nothing_that_is_an_operators(database: Database):
    async with database.write() as connection:
        await connection.execute(update(models).where(models.c.id == STELLA).values(state="live"))
        before = await connection.scalar(select(func.count()).select_from(model_prices))
        await catalog.seed(connection)
        after = await connection.scalar(select(func.count()).select_from(model_prices))
        assert (await catalog.snapshot(connection)).models[STELLA].state == "live"
    assert after == before


async def test_seeding_again_leaves_a_live_models_price_alone(database: Database):
    """And still mends the estimate of a model that is coming soon."""
    async with database.write() as connection:
        for model in (MODEL, STELLA):
            await catalog.set_price(connection, model, 9_000_000)
        await catalog.seed(connection)
        seeded = (await catalog.snapshot(connection)).models
    assert seeded[MODEL].price.nanos_per_million_tokens == 9_000_000
    assert seeded[STELLA].price.nanos_per_million_tokens == 8_000_000


async def test_seeding_again_writes_nothing(database: Database):
    written: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        if re.match("(INSERT INTO|UPDATE) model(s|_prices) ", statement):
            written.append(statement)

    async with database.write() as connection:
        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        await catalog.seed(connection)
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert written == []


async def test_a_new_price_is_a_new_version(database: Database):
    async with database.write() as connection:
        old = (await catalog.snapshot(connection)).models[MODEL].price
        await catalog.set_price(connection, MODEL, 9_000_000)
        new = (await catalog.snapshot(connection)).models[MODEL].price
        kept = await connection.scalar(
            select(model_prices.c.nanos_per_million_tokens).where(model_prices.c.id == old.id)
        )
    assert new.id != old.id
    assert (old.nanos_per_million_tokens, new.nanos_per_million_tokens) == (8_000_000, 9_000_000)
    assert kept == 8_000_000


async def test_a_name_may_carry_a_prompt(database: Database):
    published = catalog.PublishedCatalog(database)
    assert published().find(STELLA) is None
    await published.refresh()
    found = published().find(f"{STELLA}:s2p_query")
    assert found
    assert (found[0].id, found[1]) == (STELLA, "s2p_query")
    assert published().find(f"{STELLA}:nope") is None
    assert published().find(f"{MODEL}:s2p_query") is None


async def test_what_did_not_change_is_not_read_again(database: Database):
    published = catalog.PublishedCatalog(database)
    await published.refresh()
    first, statements = published(), []

    def note(_connection, _cursor, statement, *_) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await published.refresh()
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert published() is first
    asked = [text for text in statements if text.startswith("SELECT")]
    assert len(asked) == 1
    assert "catalog_versions" in asked[0]


ROW = GoldenRow(ids=b"1234", vectors={384: b"1234" * 384})
CHANGES: dict[str, Callable[[AsyncConnection], Awaitable[None]]] = {
    "state": lambda connection: catalog.set_state(connection, STELLA, "retired"),
    "price": lambda connection: catalog.set_price(connection, STELLA, 9_000_000),
    "flex": lambda connection: catalog.set_price(connection, STELLA, 1_000_000, tier="flex"),
    "golden": lambda connection: golden.pin(connection, STELLA, "another", [ROW]),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_is_seen_and_nothing_else_is_made_anew(database: Database, change: str):
    published = catalog.PublishedCatalog(database)
    await published.refresh()
    before = published().models
    async with database.write() as connection:
        await CHANGES[change](connection)
        await published.refresh()
        assert published().models is before  # not before it is committed
    await published.refresh()
    assert published().models[STELLA] != before[STELLA]
    assert published().models[MODEL] is before[MODEL]
    async with database.read() as connection:
        assert (await catalog.snapshot(connection)).models == published().models


async def test_a_new_model_takes_its_place_and_a_changed_card_is_read(database: Database):
    published = catalog.PublishedCatalog(database)
    await published.refresh()
    card = cards.reviewed()[1]
    encoded = msgspec.json.encode(msgspec.convert(card, cards.ModelCard, from_attributes=True))
    async with database.write() as connection:
        await connection.execute(
            insert(models).values(
                id="a/new-one", state="live", card=encoded.decode(), created_at=datetime.now(UTC)
            )
        )
        await catalog.set_price(connection, "a/new-one", 1_000_000)
    await published.refresh()
    every = [*(model.id for model in cards.reviewed()), "a/new-one"]
    assert list(published().models) == sorted(every)
    async with database.write() as connection:
        shorter = encoded.decode().replace('"tokens_max":256', '"tokens_max":128')
        await connection.execute(
            update(models).where(models.c.id == "a/new-one").values(card=shorter)
        )
    await published.refresh()
    assert published().models["a/new-one"].tokens_max == 128


@pytest.mark.parametrize(
    "change",
    [
        {"dimensions_default": 5},
        {"derived_dimensions": {7: 1024}},
        {"query_prompt": "nope"},
        {"document_prompt": "query"},
        {"state": "live", "vocabulary_sha256": ""},
        {"colour": "blue"},
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict[str, object]):
    good = msgspec.to_builtins(cards.reviewed()[0])
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | change, cards.ReviewedModel)
