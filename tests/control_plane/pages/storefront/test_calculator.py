"""The calculator: the numbers of the endpoint itself, with and without JavaScript."""

import re

import pytest
from httpx import Response

from gateway.app.process import Process
from gateway.control_plane.catalog import catalog
from gateway.control_plane.catalog.elsewhere import offers
from gateway.control_plane.pages.storefront import calculator
from testing.browsing import Browser, squeezed
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


def cells(page: str, table: str) -> list[list[str]]:
    """The texts of a table's rows."""
    body = page.partition(f'aria-label="{table}"')[2].partition("</table>")[0]
    found = []
    for row in body.partition("<tbody>")[2].split("</tr>")[:-1]:
        parts = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        found.append([squeezed(re.sub(r"<[^>]+>", " ", part)).strip() for part in parts])
    return found


async def test_it_is_filled_in_and_compares_all_models_and_others(
    gateway: Process, browser: Browser
):
    page = (await browser.get("/calculator")).text
    assert "Refunds are issued" in page
    assert 'value="1,000,000"' in page
    rows = cells(page, "Cost on every model")
    ours = {listing.page.title for listing in gateway.services.shelves().listings}
    named = [re.sub(" (chosen|Soon)", "", row[0]) for row in rows]
    assert ours <= set(named)
    assert len(rows) == len(ours) + len(offers())
    soon = [row[0].endswith(" Soon") for row in rows]
    assert sum(soon) == len(ours) - gateway.services.shelves().live
    assert soon == sorted(soon)  # what can be bought comes first
    assert "litellm&#39;s price list" in page
    there = next(row for row in rows if row[0].startswith("text-embedding-3-small"))
    assert "OpenAI, 30 Nov 2026" in there[0]
    tokens = int(there[3].removeprefix("≈ "))
    assert there[1] == f"≈ ${tokens * 0.02:.2f}"
    mine = next(row for row in rows if row[0].startswith("all-MiniLM"))
    assert mine[3] == str(tokens)  # counted, by its own tokenizer
    assert mine[1] == f"${tokens * 0.008:.2f}"


async def test_what_is_not_counted_by_its_own_tokenizer_says_so(gateway: Process, browser: Browser):
    strange = next(
        li for li in gateway.services.shelves().listings if not li.model.vocabulary_sha256
    )
    await browser.get(f"/calculator?model={strange.model.id}")
    assert "An estimate: this model's tokenizer" in browser.page.text
    row = next(
        row for row in cells(browser.page.text, "Cost on every model")
        if row[0] == f"{strange.page.title} chosen Soon"
    )  # fmt: skip
    assert row[1].startswith("≈ ")
    assert row[3].startswith("≈ ")


async def test_a_change_brings_the_table_to_its_own_page_alone(browser: Browser):
    await browser.get("/calculator")
    headers = {"hx-request": "true", "x-csrf-token": browser.token}
    data = {"model": STELLA, "prompts_of": STELLA, "text": "hi", "texts_month": "2,000,000"}
    of_model_page = await browser.http.post("/calculator", data=data, headers=headers)
    assert "across" not in of_model_page.text
    own = await browser.http.post("/calculator", data=data | {"across": "y"}, headers=headers)
    assert 'id="across" class="stack" hx-swap-oob="true"' in own.text
    assert "2,000,000 inputs like this" in own.text
    sizes = cells(own.text, "Storage by dimensions")
    assert ["1,024 (default)", "8.19 GB"] in sizes


async def test_pricing_leads_here(browser: Browser):
    assert (await browser.get("/pricing")).url.path == "/calculator"


@pytest.mark.parametrize(("choices", "listed"), [(50, 50), (51, 0)])
def test_models_are_listed_to_choose_from_while_they_are_few(
    gateway: Process, choices: int, listed: int
):
    shelf = gateway.services.shelves()
    many = type(shelf)((shelf.listings * 9)[:choices])
    assert len(calculator._choices(many)) == listed
