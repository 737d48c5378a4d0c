"""The changelog and its feed."""

import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from gateway import wall
from gateway.app.process import Process
from gateway.control_plane.catalog import catalog, price_changes
from gateway.control_plane.demand.news import NewsItem
from gateway.control_plane.pages.docs import changelog
from gateway.control_plane.pages.docs.changelog import changes
from gateway.storage.database import Database
from gateway.storage.tables import launches, model_prices
from testing.browsing import Browser
from tests.control_plane.conftest import MINILM, STELLA


def test_changes_of_the_api_are_in_order_and_said_once():
    found = changes()
    assert [one.on for one in found] == sorted((one.on for one in found), reverse=True)
    assert len({(one.on, one.title) for one in found}) == len(found)
    assert all(one.words.endswith(".") for one in found)


async def launch(database: Database, model_id: str) -> None:
    async with database.write() as connection:
        await catalog.set_state(connection, model_id, "live")
        price = await connection.scalar(
            select(model_prices.c.id).where(model_prices.c.model_id == model_id).limit(1)
        )
        await connection.execute(
            insert(launches).values(model_id=model_id, price_id=price, launched_at=wall.now())
        )


async def test_launches_and_prices_are_news(gateway: Process, browser: Browser):
    database = gateway.core.database
    await gateway.services.news.refresh()
    assert not gateway.services.news.items, "what a model cost before it was live is no news"
    await launch(database, STELLA)
    async with database.write() as connection:
        await catalog.set_price(connection, MINILM, 5_000_000)
        await price_changes.schedule(
            connection, MINILM, 9_000_000, tier="default",
            effective_at=wall.now() + timedelta(days=40), is_rise=True,
        )  # fmt: skip
    await gateway.services.news.refresh()
    kinds = [(one.kind, one.model_id, one.is_to_come) for one in gateway.services.news.items]
    assert kinds == [
        ("price", MINILM, True), ("price", MINILM, False), ("launch", STELLA, False),
    ]  # fmt: skip
    page = (await browser.get("/changelog")).text
    assert f"{STELLA} is live" in page
    assert f"{MINILM}: lower price" in page
    assert f"{MINILM}: higher price" in page
    assert "is $0.005 per million tokens from now on, instead of $0.008." in page
    assert "is $0.009 per million tokens from then on, instead of $0.005." in page
    assert "Upcoming" in page


async def test_the_feed_is_rss_with_whole_addresses(gateway: Process, browser: Browser):
    await launch(gateway.core.database, STELLA)
    await gateway.services.news.refresh()
    answer = await browser.get("/changelog.rss")
    assert answer.headers["content-type"].startswith("application/rss+xml")
    items = ET.fromstring(answer.text).findall("channel/item")
    assert len({item.findtext("guid") for item in items}) == len(items) == len(changes()) + 1
    assert items[0].findtext("title") == f"{STELLA} is live" or len(items) > 1
    page = (await browser.get("/changelog")).text
    for item in items:
        address, _, anchor = (item.findtext("link") or "").partition("#")
        assert address == "http://127.0.0.1:8080/changelog"
        assert f'id="{anchor}"' in page
        assert 'href="/' not in (item.findtext("description") or "")


@pytest.mark.parametrize(
    ("tier", "nanos", "title", "words"),
    [
        ("default", 5_000_000, "a/b: lower price", "The price of"),
        ("default", 9_000_000, "a/b: higher price", "The price of"),
        ("flex", 5_000_000, "a/b: lower flex price", "The flex price of"),
    ],
)
def test_a_price_is_said_with_its_tier_and_its_way(tier: str, nanos: int, title: str, words: str):
    at = wall.now()
    shown = changelog._of_news(NewsItem("price", "a/b", at, tier, nanos, 8_000_000))
    assert shown.title == title
    assert words in shown.words
    assert shown.anchor == f"price-a-b-{at:%Y-%m-%d}-{tier}"
    assert not shown.is_to_come


async def test_what_comes_first_stands_first_among_what_is_to_come(
    gateway: Process, browser: Browser
):
    async with gateway.core.database.write() as connection:
        for days, nanos in ((60, 10_000_000), (40, 9_000_000)):
            await price_changes.schedule(
                connection, MINILM, nanos, tier="default",
                effective_at=wall.now() + timedelta(days=days), is_rise=True,
            )  # fmt: skip
    await gateway.services.news.refresh()
    page = (await browser.get("/changelog")).text
    assert page.index("is $0.009 per") < page.index("is $0.01 per")


def test_a_launch_and_a_change_of_the_api_have_happened():
    launched = changelog._of_news(NewsItem("launch", "a/b", wall.now()))
    assert not any(one.is_to_come for one in [launched, *changelog._of_api()])
