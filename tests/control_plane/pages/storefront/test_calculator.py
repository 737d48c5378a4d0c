"""The calculator: the numbers of the endpoint itself, with and without JavaScript."""

import pytest
from httpx import Response

from gateway.app.process import Process
from gateway.control_plane.catalog import catalog
from testing.browsing import Browser
from tests.control_plane.conftest import MINILM, STELLA


async def calculate(browser: Browser, **fields: str) -> str:
    await browser.get("/calculator")
    return (await browser.submit("/calculator", model=STELLA, **fields)).text


async def test_it_counts_what_is_billed(browser: Browser):
    page = await calculate(browser, text="hi", texts_month="1,000,000")
    assert '<p class="value">3</p>' in page
    assert "$0.000000024" in page  # 3 tokens at 8 nano-dollars
    assert "$0.02" in page
    prompted = await calculate(browser, text="hi", prompt="s2p_query")
    assert '<p class="value">22</p>' in prompted


async def test_it_says_that_a_text_is_too_long(browser: Browser):
    page = await calculate(browser, text="word " * 600)
    assert '<p class="value">512</p>' in page
    assert "602 tokens, but the model reads only 512" in page


async def test_what_can_not_be_calculated(browser: Browser):
    for fields, status in [
        ({"text": "x" * 20_001}, 400),
        ({"text": "x", "texts_month": "-1"}, 400),
        ({"text": "x", "texts_month": "1" * 30}, 400),
        ({"text": "x", "texts_month": "²"}, 400),
        ({"text": "x", "texts_month": "0" * 20 + "9" * 60}, 400),
        ({"text": "x", "texts_month": "0" * 20 + "9" * 5000}, 400),
        ({"text": "x", "texts_month": "1\0"}, 400),
        ({"text": "x" * 300_000}, 413),
    ]:
        await browser.get("/calculator")
        answer = await browser.submit("/calculator", model=STELLA, **fields)
        assert answer.status_code == status, fields
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("letter", ["字", "🚀", "é"])
async def test_it_counts_as_many_characters_as_it_says_whatever_they_are(
    browser: Browser, letter: str
):
    assert 'class="value"' in await calculate(browser, text=letter * 20_000)
    assert browser.page.status_code == 200


async def test_a_month_is_rounded_up_with_each_text_as_the_ledger_does(
    gateway: Process, browser: Browser
):
    async with gateway.core.database.write() as connection:
        await catalog.set_price(connection, STELLA, 12_500_000)
    await gateway.core.catalog.refresh()
    page = await calculate(browser, text="hi", texts_month="1000000")
    assert "$0.000000038" in page  # 3 tokens at 12.5 nano-dollars
    assert "$0.038" in page


async def test_another_model_brings_its_prompts_and_touches_nothing_that_was_typed(
    browser: Browser,
):
    await browser.get("/calculator")
    headers = {"hx-request": "true", "x-csrf-token": browser.token}

    async def choose(model: str, *, before: str) -> Response:
        data = {"model": model, "prompts_of": before, "text": "hi", "prompt": "s2p_query"}
        return await browser.http.post("/calculator", data=data, headers=headers)

    stella = (await choose(STELLA, before=MINILM)).text
    assert '<div id="calc-prompts" hx-swap-oob="true">' in stella
    assert f'name="prompts_of" value="{STELLA}"' in stella
    assert "<option selected>s2p_query</option>" in stella
    assert '<p class="value">22</p>' in stella
    minilm = (await choose(MINILM, before=STELLA)).text
    assert '<div id="calc-prompts" hx-swap-oob="true" hidden>' in minilm
    assert 'name="prompt"' not in minilm
    assert '<p class="value">3</p>' in minilm
    assert "calc-prompts" not in (await choose(MINILM, before=MINILM)).text
    missing = await choose("no/such", before=STELLA)
    assert missing.status_code == 404
    assert 'class="notice bad"' in missing.text
    assert not any("<textarea" in page for page in (stella, minilm, missing.text))


async def test_htmx_gets_the_result_alone(browser: Browser):
    await browser.get("/calculator")
    headers = {"hx-request": "true", "x-csrf-token": browser.token}
    answer = await browser.http.post(
        "/calculator", data={"model": STELLA, "text": "hi"}, headers=headers
    )
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "$0.000000024" in answer.text


@pytest.mark.parametrize("options", [{"calculations_per_hour": 2}])
async def test_it_is_limited(browser: Browser):
    await calculate(browser, text="hi")
    await calculate(browser, text="hi")
    page = await calculate(browser, text="hi there")
    assert "Too many requests" in page
    assert ">hi there</textarea>" in page
    assert browser.page.status_code == 429
    assert int(browser.page.headers["retry-after"]) > 0
