"""The playground, with real worker processes behind it."""

import asyncio
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest

from gateway.app.process import Process
from gateway.buckets import Buckets
from gateway.control_plane.catalog import catalog, golden
from gateway.control_plane.pages.storefront import playground
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.errors import BadRequest
from gateway.money import MINUS
from testing.browsing import Browser
from testing.processes import running
from testing.vouching import fake_golden
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.pages.conftest import Fields

PATH = f"/playground/{MINILM}"
FIRST = f"{MINILM}@384"
DIMENSIONS = (256, 512, 768, 1024, 2048, 4096, 6144, 8192)
SEARCH = {"mode": "search", "first": FIRST, "query": "two", "passages": "one\ntwo\nthree"}
FRAGMENT = {"hx-request": "true"}


@pytest.fixture(scope="module")
def workers() -> Iterator[str]:
    read = ["--vocabulary-sha256", BERT_UNCASED_SHA256]
    minilm = ["--model", MINILM, "--dimensions", "384", *read]
    stella = ["--model", STELLA, "--dimensions", *map(str, DIMENSIONS), *read]
    with running("backends.fake", *minilm) as one, running("backends.fake", *stella) as two:
        yield f"{MINILM}={one.url} {STELLA}={two.url}"


@pytest.fixture
def options(workers: str) -> dict[str, Any]:
    return {"workers": workers, "experiments_per_hour": 3}


async def tries(browser: Browser, **fields: str) -> httpx.Response:
    await browser.get(PATH)
    return await browser.submit(PATH, **{"first": FIRST, **fields})


async def test_sentences_are_embedded_and_compared(browser: Browser):
    page = (await tries(browser, sentences="one\n\n two \none")).text
    assert page.count('class="heat-4"') == 5  # each with itself, and "one" with "one"
    assert "384 dimensions · 9 tokens · free here, would cost $0.000000072" in page
    assert "All systems operational" in (await browser.get("/status")).text
    hostile = (await tries(browser, sentences="<script>x</script>\n'two'")).text
    assert "<script>x" not in hostile
    assert unescape(hostile).count("'\\''two'\\''") == 1  # in curl's quotes
    assert (await tries(browser, sentences="a\nb")).status_code == 200
    assert (await tries(browser, sentences="a\nb")).status_code == 429


async def test_passages_are_ranked(browser: Browser):
    page = (await tries(browser, **SEARCH)).text
    scores = re.findall(r'class="score">([-\d.]+)<', page.replace(MINUS, "-"))
    assert scores == sorted(scores, key=float, reverse=True)
    assert scores[0] == "1.00"
    hits = page.partition('<ol class="hits">')[2].partition("</ol>")[0]
    assert re.findall(r"<span>(\w+)</span>", hits)[0] == "two"


async def test_two_stand_side_by_side(gateway: Process, browser: Browser):
    async with gateway.core.database.write() as connection:
        await golden.pin(connection, STELLA, "fake", fake_golden(*DIMENSIONS))
        await catalog.set_state(connection, STELLA, "live")
    await gateway.core.catalog.refresh()
    pool = gateway.core.router.pools[STELLA].core
    async with asyncio.timeout(30):
        while not any(worker.ready for worker in pool.workers.values()):
            await asyncio.sleep(0.02)
    beside = {"first": f"{STELLA}@1024", "beside": f"{STELLA}@256"}
    compared = await tries(browser, sentences="a\nb", prompt="s2s_query", **beside)
    assert re.findall(r"([\d,]+) dimensions · (\d+) tokens", compared.text) == [
        ("1,024", "28"), ("256", "28"),  # two of 3 tokens and a prompt of 11
    ]  # fmt: skip
    gateway.web.experiment_limit._buckets = Buckets(2, 3600)
    beside["first"] = FIRST
    searched = await tries(browser, **SEARCH | beside | {"prompt": "own"})
    assert re.findall(r"([\d,]+) dimensions · (\d+) tokens", searched.text) == [
        ("384", "12"), ("256", "31"),  # the prompt for queries has 19
    ]  # fmt: skip
    assert (await tries(browser, sentences="a\nb")).status_code == 429  # each took a try


async def test_bounds(browser: Browser):
    for sentences in ["one", "a\nb\nc\nd\ne\nf\ng", "short\n" + "x" * 301, ""]:
        page = await tries(browser, sentences=sentences)
        assert page.status_code == 400
        assert Fields(page).blamed() == "sentences"
    for changed, blamed in [
        ({"query": ""}, "query"),
        ({"query": "one\ntwo"}, "query"),
        ({"query": "x" * 301}, "query"),
        ({"passages": "one"}, "passages"),
        ({"passages": "\n".join("abcdefghijk")}, "passages"),
    ]:
        page = await tries(browser, **SEARCH | changed)
        assert page.status_code == 400
        assert Fields(page).blamed() == blamed


@pytest.mark.parametrize(
    ("typed", "least", "most"),
    [("a\n \n b ", 2, 6), ("a\nb\nc\nd\ne\nf", 2, 6), ("x" * 300, 1, 1), ("q\n", 1, 1)],
)
def test_as_much_as_is_said_fits(typed: str, least: int, most: int):
    assert playground._lines(typed, "sentences", least, most) == typed.split()


@pytest.mark.parametrize(
    ("typed", "most", "words"),
    [
        ("a", 6, "Enter 2 to 6 sentences, one per line. So far: 1."),
        ("a\nb\nc", 1, "Enter a query on one line. So far: 3."),
        ("a\n" + "x" * 301, 6, "Line 2 has 301 characters; at most 300 fit here."),
    ],
)
def test_what_does_not_fit_is_said_with_its_number(typed: str, most: int, words: str):
    with pytest.raises(BadRequest) as caught:
        playground._lines(typed, "sentences", 2 if most > 1 else 1, most)
    assert str(caught.value) == words


@pytest.mark.parametrize(("mode", "prompt"), [("similarity", "none"), ("search", "own")])
async def test_an_example_is_open_with_the_prompts_of_its_mode(
    browser: Browser, mode: str, prompt: str
):
    page = await browser.get(f"{PATH}?mode={mode}")
    assert f'name="prompt" value="{prompt}"' in page.text


async def test_without_a_choice_the_pages_own_model_is_tried(browser: Browser):
    page = await browser.get(PATH)
    page = await browser.submit(PATH, sentences="a\nb")
    assert "384 dimensions · 6 tokens" in page.text


async def test_what_is_offered_is_the_pages_own_model_and_what_is_live(gateway: Process):
    shelf = gateway.services.shelves()
    own, live = shelf.by_id[STELLA], shelf.by_id[MINILM]
    form = playground.PlaygroundForm()
    for listing, offered in ((own, [STELLA] * len(DIMENSIONS) + [MINILM]), (live, [MINILM])):
        found = playground._shown(shelf, listing, form)["choices"]
        assert [one.listing.model.id for one in found] == offered


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"first": f"{STELLA}@1024"}, "first"),
        ({"first": f"{MINILM}@385"}, "first"),
        ({"beside": "no@1"}, "beside"),
        ({"beside": FIRST}, "beside"),
        ({"prompt": "s2p_query"}, "prompt"),
        ({"sentences": "one"}, "sentences"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field(
    browser: Browser, changed: dict[str, str], field: str
):
    await browser.get(PATH)
    fields = {"csrf_token": browser.token, "first": FIRST, "sentences": "a\nb", **changed}
    page = await browser.http.post(PATH, data=fields, headers=FRAGMENT)
    assert page.status_code == 400
    assert page.headers["hx-retarget"] == f"#problem-{field}"
    assert f'data-field="{field}"' in page.text
    assert '<div id="result" hx-swap-oob="innerHTML"></div>' in page.text
    whole = await tries(browser, **{"sentences": "a\nb", **changed})
    place = whole.text.partition(f'id="problem-{field}"')[2]
    assert place.lstrip(">\n ").startswith('<p class="notice bad"')


async def test_a_fragment_is_the_result_alone(browser: Browser):
    await browser.get(PATH)
    fields = {"csrf_token": browser.token, "first": FIRST, "sentences": "a\nb"}
    page = await browser.http.post(PATH, data=fields, headers=FRAGMENT)
    assert page.status_code == 200
    assert "<form" not in page.text
    assert page.text.count("<section") == 1
    assert "hx-retarget" not in page.headers


async def test_a_model_that_is_coming_leads_to_its_vote(browser: Browser):
    page = await browser.http.get(f"/playground/{STELLA}", follow_redirects=False)
    assert page.status_code == 303
    assert page.headers["location"] == f"/models/{STELLA}#demand"
    assert 'id="demand"' in (await browser.get(f"/models/{STELLA}")).text
    assert (await browser.get("/playground/no/model")).status_code == 404


async def test_all_visitors_together_have_a_bound(gateway: Process, browser: Browser):
    one_more = Browser(gateway.app, address="203.0.113.99")
    gateway.web.experiment_limit_of_all._buckets = Buckets(1, 3600)
    statuses = [
        (await tries(visitor, sentences="a\nb")).status_code for visitor in (browser, one_more)
    ]
    assert statuses == [200, 429]
    await one_more.close()


async def test_with_one_thing_to_try_there_is_nothing_to_compare_with(
    gateway: Process, browser: Browser
):
    assert "Compare with" not in (await browser.get(PATH)).text
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, STELLA, "live")
    await gateway.core.catalog.refresh()
    assert "Compare with" in (await browser.get(PATH)).text
