"""News of the catalog: launches, and prices of live models that changed or will, and no other."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, update

from gateway import wall
from gateway.control_plane.demand import news
from gateway.control_plane.demand.news import CatalogNews, NewsItem
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import launches, model_prices, models, price_changes
from tests.control_plane.conftest import MINILM, STELLA

SOON = "BAAI/bge-m3"
NOW = wall.now()


def ago(days: float):
    return NOW - timedelta(days=days)


async def told(database: Database, tables: list[tuple]) -> list[NewsItem]:
    """Write rows, and return the news of them."""
    async with database.write() as connection:
        for table, row in tables:
            values = {"id": new_id(), "created_at": NOW} if table is not launches else {}
            await connection.execute(insert(table).values(values | row))
    read = CatalogNews(database)
    await read.refresh()
    return list(read.items)


async def test_news_are_of_live_models_since_their_launch(
    seeded: Database, monkeypatch: pytest.MonkeyPatch
):
    async with seeded.write() as connection:
        await connection.execute(delete(price_changes))
        await connection.execute(delete(model_prices))
        await connection.execute(update(models).where(models.c.id == STELLA).values(state="live"))
    launched = new_id()

    def price(model: str, nanos: int, days: float, tier: str = "default", **more) -> tuple:
        row = {"model_id": model, "nanos_per_million_tokens": nanos, "created_at": ago(days)}
        return model_prices, row | {"tier": tier} | more

    def change(model: str, nanos: int, days: float, tier: str = "default", **more) -> tuple:
        row = {"model_id": model, "nanos_per_million_tokens": nanos, "effective_at": ago(-days)}
        return price_changes, row | {"tier": tier} | more

    found = await told(
        seeded,
        [
            price(STELLA, 9, 9),  # before it was launched
            price(STELLA, 8, 5, id=launched),
            (launches, {"model_id": MINILM, "price_id": launched, "launched_at": ago(4.5)}),
            (launches, {"model_id": STELLA, "price_id": launched, "launched_at": ago(5)}),
            price(STELLA, 7, 4),
            price(STELLA, 7, 3),  # the same again
            price(MINILM, 6, 8),
            price(MINILM, 2, 7, "flex"),  # the first of its tier changes nothing
            price(MINILM, 5, 2),
            price(MINILM, 1, 1, "flex"),
            price(SOON, 3, 8),
            price(SOON, 4, 2),  # it is not live
            (launches, {"model_id": SOON, "price_id": launched, "launched_at": ago(9)}),
            change(MINILM, 3, 30, "flex"),
            change(MINILM, 9, 20),
            change(STELLA, 2, 25, "flex"),  # it has no such price yet: the other one applies
            change(STELLA, 11, 10, price_id=launched),  # it applies already
            change(STELLA, 12, 10, canceled_at=NOW),
            change(SOON, 13, 10),
        ],
    )
    assert found == [
        NewsItem("price", MINILM, ago(-30), "flex", 3, 1),
        NewsItem("price", STELLA, ago(-25), "flex", 2, 7),
        NewsItem("price", MINILM, ago(-20), "default", 9, 5),
        NewsItem("price", MINILM, ago(1), "flex", 1, 2),
        NewsItem("price", MINILM, ago(2), "default", 5, 6),
        NewsItem("price", STELLA, ago(4), "default", 7, 8),
        NewsItem("launch", MINILM, ago(4.5), nanos_per_million_tokens=8),
        NewsItem("launch", STELLA, ago(5), nanos_per_million_tokens=8),
    ]
    assert [item.is_to_come for item in found] == [True] * 3 + [False] * 5
    monkeypatch.setattr(news, "NEWS_MAX", 1)  # the newest of each kind, and the next to come
    assert await told(seeded, []) == [found[2], found[3], found[6]]
