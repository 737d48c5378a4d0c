"""Asking for a model: by the form, an address that is none, and a search that finds nothing."""

import pytest

from gateway.app.process import Process
from gateway.control_plane.demand import asks
from testing.browsing import Browser, squeezed
from tests.control_plane.conftest import STELLA


async def counted(gateway: Process) -> dict[str, tuple[int, int, int, int]]:
    await gateway.core.asks.flush()
    async with gateway.core.database.read() as connection:
        return {
            row.name: (row.forms, row.searches, row.pages, row.calls)
            for row in await asks.listed(connection, 100)
        }


async def test_a_wish_is_counted_and_thanked_for(gateway: Process, browser: Browser):
    await browser.get("/ask?model=BAAI/bge-m4")
    assert 'value="BAAI/bge-m4"' in browser.page.text
    page = await browser.submit("/ask", model="https://huggingface.co/BAAI/bge-m4")
    assert "We counted your request for <strong>BAAI/bge-m4</strong>" in squeezed(page.text)
    await browser.get(str(page.url))  # looking again counts nothing
    assert await counted(gateway) == {"BAAI/bge-m4": (1, 0, 0, 0)}


async def test_what_is_no_name_is_refused_and_stays_in_its_field(browser: Browser):
    await browser.get("/ask")
    page = await browser.submit("/ask", model="<b>best</b>")
    assert page.status_code == 400
    assert 'value="&lt;b&gt;best&lt;/b&gt;"' in page.text
    assert "Enter the model" in page.text
    assert "<b>best" not in (await browser.get("/ask?asked=<b>best</b>&model=<b>best</b>")).text


async def test_a_model_that_is_here_is_shown(gateway: Process, browser: Browser):
    await browser.get("/ask?model=stela_en_400M_v5")
    assert f'href="/models/{STELLA}"' in browser.page.text
    page = await browser.submit("/ask", model=STELLA)
    assert page.url.path == f"/models/{STELLA}"
    assert await counted(gateway) == {}


async def test_a_page_that_is_not_there_leads_to_the_form(gateway: Process, browser: Browser):
    page = await browser.get("/models/BAAI/bge-m4")
    assert page.status_code == 404
    assert 'href="/ask?model=BAAI/bge-m4"' in page.text
    hostile = await browser.get("/models/a/%3Cimg%20src=x%3E")
    assert hostile.status_code == 404
    assert "<img" not in hostile.text
    assert "/ask" not in hostile.text.partition("<main")[2].partition("</main")[0]
    assert await counted(gateway) == {"BAAI/bge-m4": (0, 0, 1, 0)}


async def test_an_empty_search_is_counted_once_it_is_a_page(gateway: Process, browser: Browser):
    page = await browser.get("/models?q=jina-embeddings-v9")
    assert 'href="/ask?model=jina-embeddings-v9"' in page.text
    await browser.get("/models?q=jina-emb-v", headers={"hx-request": "true"})  # while it is typed
    await browser.get("/models?q=stella")
    assert await counted(gateway) == {"jina-embeddings-v9": (0, 1, 0, 0)}


@pytest.mark.parametrize("limit", [2])
async def test_the_form_is_limited(
    gateway: Process, browser: Browser, monkeypatch: pytest.MonkeyPatch, limit: int
):
    monkeypatch.setattr(gateway.web.ask_quota, "_limit", limit)
    for n in range(limit + 1):
        await browser.get("/ask")
        answer = await browser.submit("/ask", model=f"lab/model-{n}")
    assert answer.status_code == 429
    assert len(await counted(gateway)) == limit
