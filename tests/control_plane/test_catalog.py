"""The catalogue: reviewed, seeded once, priced in versions, published as a snapshot."""

import msgspec
import pytest
from sqlalchemy import func, select, update

from gateway.control_plane.catalog import models as catalog
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.storage.database import Database
from gateway.storage.tables import model_prices, models
from tests.support.gateways import MODEL, STELLA


async def test_stella_is_what_its_page_promises(database: Database):
    async with database.read() as connection:
        stella = (await catalog.snapshot(connection)).models[STELLA]
    assert stella.state == "coming_soon"
    assert stella.dimensions == (256, 512, 768, 1024, 2048, 4096, 6144, 8192)
    assert (stella.dimensions_default, stella.derived_dimensions) == (1024, {512: 1024})
    assert stella.tokens_max == 512
    assert set(stella.prompts) == {"s2p_query", "s2s_query"}
    assert stella.vocabulary_sha256 == BERT_UNCASED_SHA256
    assert stella.price.cost_nanos(1) == 8


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


@pytest.mark.parametrize(
    "change",
    [
        {"dimensions_default": 5},
        {"derived_dimensions": {7: 1024}},
        {"query_prompt": "nope"},
        {"colour": "blue"},
    ],
)
def test_a_card_that_contradicts_itself_is_refused(change: dict[str, object]):
    good = msgspec.to_builtins(catalog.reviewed()[0])
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | change, catalog.ReviewedModel)
