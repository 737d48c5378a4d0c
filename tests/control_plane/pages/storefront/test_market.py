"""The list of models as a table, its pills, collections and authors, and models side by side."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import pairwise

import msgspec
import pytest
from sqlalchemy import insert

from gateway.app.process import Process
from gateway.control_plane.catalog.collections import COLLECTIONS
from gateway.control_plane.pages.storefront import compare
from gateway.control_plane.pages.storefront.columns import COLUMNS
from gateway.control_plane.pages.storefront.paging import page_of
from gateway.control_plane.status.performance import ModelPerformance
from gateway.control_plane.web.formats import FILTERS
from gateway.dates import day_text, moment_text
from gateway.storage.tables import demand_votes, users
from testing import marketplace
from testing.browsing import Browser, squeezed
from tests.control_plane.conftest import MINILM, STELLA

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = re.compile(r'<th scope="row"><a href="/models/([^"]+)"')


async def vote(gateway: Process, model_id: str, count: int, *, start: int = 0) -> None:
    now = datetime.now(UTC)
    async with gateway.core.database.write() as connection:
        for n in range(start, start + count):
            person = f"{model_id}-{n}"
            said = {"id": person, "email": f"{person}@e.org", "address_key": person}
            await connection.execute(insert(users).values(**said, created_at=now, welcome=""))
            await connection.execute(
                insert(demand_votes).values(marketplace.vote(person, model_id, now))
            )
    await gateway.core.demand_counts.refresh()


async def test_each_pill_leads_to_as_many_models_as_it_says(browser: Browser):
    page = (await browser.get("/models")).text
    pills = re.findall(r'class="pill" href="([^"]+)"[^>]*>([^<]+) <span>(\d+)<', page)
    assert [name.strip() for _, name, _ in pills][:3] == ["All", "Live", "Coming soon"]
    assert len(pills) >= 5
    for path, name, count in pills:
        found = (await browser.get(unescape(path))).text
        assert len(ROWS.findall(found)) == int(count), name
        current = re.findall(r'aria-current="page">([^<]+) <span', found)
        assert current == [name], path


async def test_heads_sort_both_ways_and_say_so(browser: Browser):
    page = (await browser.get("/models?sort=price")).text
    assert page.count("aria-sort=") == 1
    assert re.search(r'of-price"\s+aria-sort="ascending"', page)
    (back,) = re.findall(r'of-price"[^>]*>\s*<a href="([^"]+)"', page)
    assert back == "/models?sort=-price"
    up = ROWS.findall(page)
    down = (await browser.get(back)).text
    assert re.search(r'of-price"\s+aria-sort="descending"', down)
    assert set(up) == set(ROWS.findall(down))
    assert all(f'href="/models?sort={column.slug}"' in down for column in COLUMNS
               if column.slug != "price")  # fmt: skip


async def test_a_list_without_heads_has_the_same_orders(browser: Browser):
    def control(page: str) -> str:
        return page.partition('<details class="sort-by">')[2].partition("</details>")[0]

    usual = control((await browser.get("/models?license=MIT")).text)
    assert "Sort by: Live first, then most votes</summary>" in usual
    assert re.findall(r'href="([^"]+)"[^>]*aria-current', usual) == ["/models?license=MIT"]
    heads = re.findall(r'href="([^"]+)"', usual)[1:]
    assert heads == [f"/models?license=MIT&amp;sort={column.slug}" for column in COLUMNS]
    chosen = control((await browser.get("/models?license=MIT&sort=price")).text)
    assert '<span aria-hidden="true"> ↑</span>' in chosen.partition("</summary>")[0]
    assert re.findall(r'href="([^"]+)"[^>]*aria-current', chosen) == [
        "/models?license=MIT&amp;sort=-price"
    ]
    assert "Sort by: Best match<" in control((await browser.get("/models?q=bge")).text)
    assert "sort-by" not in (await browser.get("/models?view=cards")).text


async def test_collections_and_authors_have_pages_that_search_engines_can_read(browser: Browser):
    sitemap = (await browser.get("/sitemap.xml")).text
    for path in ("/models/collections/matryoshka", "/models/NovaSearch"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert f"{path}</loc>" in sitemap
        assert f'rel="canonical" href="http://127.0.0.1:8080{path}"' in page.text
        blocks = re.findall(r'ld\+json">(.*?)</script>', page.text, re.DOTALL)
        kinds = {item["@type"]: item for item in map(json.loads, blocks)}
        listed = [item["url"] for item in kinds["ItemList"]["itemListElement"]]
        assert any(url.endswith(STELLA) for url in listed)
        assert kinds["BreadcrumbList"]["itemListElement"][-1]["item"].endswith(path)
        assert f'href="/models/{MINILM}"' not in page.text
    assert (await browser.get("/models/collections/no-such")).status_code == 404
    assert (await browser.get("/models/nobody")).status_code == 404
    within = (await browser.get("/models/collections/matryoshka?q=stella")).text
    assert STELLA in ROWS.findall(within)
    assert all("stella" in name for name in ROWS.findall(within))
    assert 'action="/models/collections/matryoshka"' in within


async def test_ticks_and_heads_need_no_script(browser: Browser):
    page = (await browser.get("/models?license=MIT")).text
    form = page.partition('<form class="picks"')[2].partition("</form>")[0]
    assert 'method="get" action="/compare"' in form[:200]
    assert f'type="checkbox" name="model" value="{STELLA}"' in form
    assert "sort=price" in form
    assert "license=MIT" in form


async def test_cards_are_the_other_way_to_show_them(browser: Browser):
    page = (await browser.get("/models?view=cards")).text
    assert "card-link" in page
    assert "<table" not in page
    order = re.findall(r"<h([1-6])", page)
    steps = [int(one) for one in order]
    assert all(b - a <= 1 for a, b in pairwise(steps)), steps


@pytest.mark.parametrize("path", ["/", "/models", "/compare", "/ask", "/calculator"])
async def test_headings_leave_out_no_level(browser: Browser, path: str):
    main = (await browser.get(path)).text.partition("<main")[2].partition("</main")[0]
    steps = [int(one) for one in re.findall(r"<h([1-6])", main)]
    assert steps[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(steps)), steps


async def test_the_race_says_who_leads_and_what_is_missing(gateway: Process, browser: Browser):
    page = (await browser.get("/models")).text
    assert "Be the first to vote" in page
    assert 'class="race"' not in page
    await vote(gateway, STELLA, 4)
    assert "In the lead" not in (await browser.get("/models")).text
    await vote(gateway, STELLA, 1, start=4)
    other = next(
        li for li in gateway.services.shelves().listings
        if li.model.state == "coming_soon" and li.model.id != STELLA
    )  # fmt: skip
    await vote(gateway, other.model.id, 1)
    await gateway.services.standings.compute()
    await gateway.services.race.refresh()
    page = squeezed((await browser.get("/models")).text)
    race = page.partition('<ol class="race">')[2].partition("</ol>")[0]
    assert race.index("Stella EN 400M V5") < race.index(other.page.title)
    assert "5 votes" in race
    assert "4 behind the lead" in race
    assert "more tokens a month to pay for a GPU" in race
    assert "What launches next" not in (await browser.get("/models?q=stella")).text


async def test_a_model_leads_from_five_votes_on(gateway: Process, browser: Browser):
    other = "/models/BAAI/bge-m3"
    await vote(gateway, STELLA, 4)
    assert "and no model has more" not in (await browser.get(f"/models/{STELLA}")).text
    assert "to lead" not in (await browser.get(other)).text
    await vote(gateway, STELLA, 1, start=4)
    assert "and no model has more" in (await browser.get(f"/models/{STELLA}")).text
    assert "6 more votes to lead" in (await browser.get(other)).text


@pytest.mark.parametrize("language", ["German", "deutsch", "日本語"])
async def test_a_language_finds_the_models_of_many(browser: Browser, language: str):
    found = ROWS.findall((await browser.get(f"/models?q={language}")).text)
    assert {"BAAI/bge-m3", "Alibaba-NLP/gte-multilingual-base"} <= set(found)
    assert not {MINILM, STELLA} & set(found)


async def test_the_scores_of_multilingual_models_are_said_to_be_english(browser: Browser):
    page = squeezed((await browser.get("/models/collections/multilingual")).text)
    assert "The retrieval score shown is for English; we show no multilingual score." in page


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(hours=23), "\u2013"),
        (timedelta(days=5), "100%"),
        (timedelta(days=31), "100%"),
    ],
)
async def test_an_uptime_says_what_it_spans(
    gateway: Process, browser: Browser, age: timedelta, said: str
):
    now = datetime.now(UTC)
    seen = ModelPerformance(as_of=now, live_since=now - age)
    gateway.services.performances._known = {MINILM: seen}
    span = f"since {day_text(now - age)}" if age.days < 30 else "30 days"
    if not age.days:
        span = f"measured since {moment_text(now - age)}"
    page = squeezed((await browser.get("/")).text)
    assert f'<dt>Uptime</dt><dd>{said}</dd><dd class="unit">{span}</dd>' in page
    assert f'title="{span}"' in page
    assert f'title="{span}"' in (await browser.get("/models")).text
    compared = squeezed((await browser.get(f"/compare?model={MINILM}")).text)
    assert (f'{said} <span class="unit">{span}</span>' in compared) is (age.days < 30)


async def test_home_says_how_many_models_are_live(browser: Browser):
    page = squeezed((await browser.get("/")).text)
    assert re.search(r"1 live</dd> ?<dd class=\"unit\"><a [^>]+>\d+ coming soon", page)


async def test_a_launched_model_is_out_of_the_race(gateway: Process):
    await vote(gateway, STELLA, 1)
    shelf = gateway.services.shelves()
    assert [one.listing.model.id for one in gateway.services.race.leaders(shelf)] == [STELLA]
    live = msgspec.structs.replace
    changed = type(shelf)(
        tuple(
            live(li, model=live(li.model, state="live")) if li.model.id == STELLA else li
            for li in sorted(shelf.listings, key=lambda li: li.model.id != STELLA)
        )
    )
    assert gateway.services.race.leaders(changed) == []


async def test_the_best_of_a_row_is_marked_in_words(browser: Browser):
    page = (await browser.get(f"/compare?model={MINILM}&model={STELLA}")).text
    text = squeezed(page)
    assert 'class="best">512' in text.replace(" class", "class").replace("<tdclass", "<td class")
    assert 'best<span class="visually-hidden"> of this row' in text
    row = text.partition("Price per 1M tokens")[2].partition("</tr>")[0]
    assert "best" not in row  # both cost the same


def test_there_is_no_best_where_there_is_no_choice():
    assert compare.best([1, 2, 2], highest=True) == {1, 2}
    assert compare.best([1, 2, None], highest=False) == {0}
    assert compare.best([2, 2, None], highest=True) == frozenset()
    assert compare.best([None, 5], highest=True) == frozenset()


async def test_more_than_six_are_left_out_and_said_so(gateway: Process, browser: Browser):
    await marketplace.fill_catalog(gateway.core.database, 10)
    await gateway.core.catalog.refresh()
    named = "&".join(f"model={li.model.id}" for li in gateway.services.shelves().listings[:8])
    page = squeezed((await browser.get(f"/compare?{named}")).text)
    assert page.count('scope="col"') == 6
    assert "2 more were left out" in page
    assert "disabled" in page.partition('name="model" type="text"')[2].partition(">")[0]
    assert "<datalist" in page


def test_pages_are_named_around_the_current_one():
    page = page_of(range(500), 6, "/models", {"q": "a b"}, size=50)
    assert [one.number if one.address else "…" for one in page.named] == [
        1, "…", 4, 5, 6, 7, 8, "…", 10,
    ]  # fmt: skip
    assert page.named[0].address == "/models?q=a+b"
    assert page.next == "/models?q=a+b&page=7"
    assert page_of(range(3), 9, "/models", {}, size=50).named[0].number == 1


def test_collections_have_addresses_of_their_own():
    assert len({one.slug for one in COLLECTIONS}) == len(COLLECTIONS)
    assert "places" in FILTERS


async def test_home_shows_what_is_measured_and_no_more(gateway: Process, browser: Browser):
    gateway.services.performances._known = {}
    page = squeezed((await browser.get("/")).text)
    proof = page.partition('<dl class="proof">')[2].partition("</dl>")[0]
    assert "$0.008" in proof
    assert "Latency" not in proof
    assert "Uptime" not in proof
    known = ModelPerformance(p50_ms=20, p95_ms=70, as_of=datetime.now(UTC), live_since=BEFORE)
    gateway.services.performances._known = {MINILM: known}
    proof = squeezed((await browser.get("/")).text).partition('<dl class="proof">')[2]
    assert "20 ms" in proof
    assert "p95 70 ms" in proof
    assert "100%" in proof
    assert f'href="/models/{MINILM}"' in proof
    assert 'href="/models/collections/matryoshka"' in proof
