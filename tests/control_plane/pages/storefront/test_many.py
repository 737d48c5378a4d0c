"""A catalogue of many models, most of them without a reviewed page: found, paged, and bounded."""

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import insert, update

from gateway.app.process import Process
from gateway.control_plane.catalog import cards
from gateway.control_plane.pages.storefront import robots
from gateway.control_plane.pages.storefront.cost_table import ROWS_MAX
from gateway.control_plane.pages.storefront.model_list import TABLE_MODELS
from gateway.storage.tables import demand_votes, models
from testing import marketplace
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import MINILM, STELLA

MANY = 130
ALL = MANY + len(cards.reviewed())
FULL, LAST = divmod(ALL, TABLE_MODELS)
PLAIN = "lab-7/embed-base-7"


@pytest.fixture(autouse=True)
async def many(gateway: Process) -> None:
    await marketplace.fill_catalog(gateway.core.database, MANY)
    await gateway.core.catalog.refresh()


def listed(page: str) -> list[str]:
    """The models of a page of the list, in its order."""
    return re.findall(r'<th scope="row"><a href="/models/([^"]+)"', page)


async def walk(browser: Browser, path: str) -> list[list[str]]:
    """Follow the links to the next page as somebody without JavaScript does."""
    found = []
    while path:
        page = (await browser.get(path)).text
        found.append(listed(page))
        link = re.search(r'rel="next" href="([^"]+)"', page)
        path = link[1].replace("&amp;", "&") if link else ""
    return found


async def test_the_pages_of_the_list_show_every_model_once(browser: Browser):
    found = await walk(browser, "/models")
    assert [len(page) for page in found] == [*[TABLE_MODELS] * FULL, *[LAST] * bool(LAST)]
    every = [model for page in found for model in page]
    assert len(set(every)) == ALL
    assert every[0] == MINILM  # the live one first
    assert 'rel="prev"' in browser.page.text


async def test_a_search_is_over_all_pages_and_kept_on_the_next(browser: Browser):
    found = await walk(browser, "/models?q=lab&price=0.03&sort=newest")
    every = [model for page in found for model in page]
    assert len(found) == 2
    assert [int(m.rpartition("-")[2]) for m in every] == [n for n in range(MANY) if n % 40 < 30]


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("dimensions=768", lambda n: n % 4 == 1),
        ("tokens=8192", lambda n: n % 3 == 2),
        ("price=0.002&state=coming_soon", lambda n: n % 40 <= 1),
        ("license=CC-BY-4.0&dimensions=2048", lambda n: n % 3 == 2 and n % 4 == 3),
    ],
)
async def test_filters_ask_what_their_labels_say(browser: Browser, query: str, fits):
    found = {model for page in await walk(browser, f"/models?{query}") for model in page}
    ours = {model for model in found if model.startswith("lab-")}
    assert {int(model.rpartition("-")[2]) for model in ours} == {n for n in range(MANY) if fits(n)}


async def test_orders(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.get(f"/models/{PLAIN}")
    await browser.submit("/vote", model=PLAIN)
    assert listed((await browser.get("/models")).text)[:2] == [MINILM, PLAIN]
    assert listed((await browser.get("/models?state=coming_soon&sort=votes")).text)[0] == PLAIN
    assert listed((await browser.get("/models?sort=-votes")).text)[-1] != PLAIN
    cheapest = listed((await browser.get("/models?sort=price")).text)[:4]
    assert {int(model.rpartition("-")[2]) % 40 for model in cheapest} == {0}


async def test_what_is_no_page_is_the_nearest(browser: Browser):
    assert len(listed((await browser.get("/models?page=999")).text)) == (LAST or TABLE_MODELS)
    assert len(listed((await browser.get("/models?page=-3")).text)) == TABLE_MODELS
    assert (await browser.get("/models?price=much")).status_code == 400
    assert listed((await browser.get("/models?dimensions=x&tokens=y")).text) == []


async def test_a_model_without_a_reviewed_page_says_what_is_known_and_no_more(browser: Browser):
    page = (await browser.get(f"/models/{PLAIN}")).text
    sentence = "256-dimensional embeddings from lab-7. Reads 512 tokens. Apache-2.0."
    for fact in (PLAIN, "embed-base-7", "2048", sentence):
        assert fact in page
    for unsaid in ("None", "Best for", "Questions", "Architecture", "Published", "huggingface"):
        assert unsaid not in page
    assert (await browser.get(f"/calculator?model={PLAIN}")).status_code == 200


async def test_a_model_whose_tokenizer_is_not_here_can_be_read_and_is_estimated(
    gateway: Process, browser: Browser
):
    async with gateway.core.database.write() as connection:
        card = (await connection.execute(models.select().where(models.c.id == PLAIN))).one().card
        card = re.sub(r'"vocabulary_sha256":"\w+"', '"vocabulary_sha256":"unknown"', card)
        await connection.execute(update(models).where(models.c.id == PLAIN).values(card=card))
    await gateway.core.catalog.refresh()
    page = await browser.get(f"/models/{PLAIN}")
    assert page.status_code == 200
    assert "What would it cost?" not in page.text
    await browser.get("/calculator")
    answer = await browser.submit("/calculator", model=PLAIN, text="hello")
    assert answer.status_code == 200
    assert "An estimate: this model's tokenizer" in answer.text


async def test_the_sitemap_is_in_parts_that_name_every_page_once(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
):
    def locations(text: str) -> list[str]:
        return [e.text or "" for e in ET.fromstring(text).iter() if e.tag.endswith("loc")]

    whole = locations((await browser.get("/sitemap.xml")).text)
    assert len(whole) == len(set(whole)) > MANY
    for size in (5, 50, len(whole)):
        monkeypatch.setattr(robots, "_PART_PATHS", size)
        index = (await browser.get("/sitemap.xml")).text
        parts = locations(index)
        assert ("sitemapindex" in index) == (size < len(whole))
        if size < len(whole):
            texts = [(await browser.get(part)).text for part in parts]
            assert [place for text in texts for place in locations(text)] == whole
    assert (await browser.get("/sitemap.xml?part=99")).status_code == 404
    assert (await browser.get("/sitemap.xml?part=-1")).status_code == 404


async def test_comparing_is_of_a_few_that_one_chooses(browser: Browser):
    def columns(page: str) -> list[str]:
        return re.findall(r'<th scope="col"><a href="/models/([^"]+)"', page)

    assert len(columns((await browser.get("/compare")).text)) == 3
    named = f"/compare?model={PLAIN}&model={STELLA}&model=no/such"
    page = (await browser.get(named)).text
    assert columns(page) == [PLAIN, STELLA]
    assert "There is no model no/such here" in page
    removed = re.findall(r'href="(/compare\?[^"]+)"[^>]*>Remove', page)
    left = (await browser.get(removed[0].replace("&amp;", "&"))).text
    assert columns(left) == [STELLA]


async def test_pages_that_name_models_are_bounded(gateway: Process, browser: Browser):
    page = (await browser.get("/calculator")).text
    assert '<datalist id="calc-models"' in page
    assert "<select" not in page.partition("calc-text")[0]
    rows = page.count('<th scope="row"><a href="/models/')
    assert rows == ROWS_MAX, "what is live, the chosen one too, and the cheapest"
    assert "more models" in page
    await sign_in(browser, gateway, "ada@example.org")
    await vote_for_all(gateway)
    votes = (await browser.get("/console/votes")).text
    assert votes.count('<th scope="row">') == 100
    assert "At most 100 of each" in votes


async def test_the_status_page_is_bounded(gateway: Process, browser: Browser):
    async with gateway.core.database.write() as connection:
        await connection.execute(update(models).values(state="live"))
    await gateway.core.catalog.refresh()
    await gateway.services.performances.refresh()
    status = await browser.get("/status")
    assert status.text.count('class="component"') == 51  # with the API
    assert f"{ALL - 50} more live models not listed here" in status.text
    assert len(status.content) < 100_000


async def vote_for_all(gateway: Process) -> None:
    now = datetime.now(UTC)
    async with gateway.core.database.write() as connection:
        user = (await connection.exec_driver_sql("SELECT id, address_key FROM users")).one()
        rows = [
            {**marketplace.vote(user.id, model, now), "voter_key": user.address_key}
            for model in gateway.core.catalog().models
        ]
        await connection.execute(insert(demand_votes), rows)
