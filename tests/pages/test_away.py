"""The pages while the database is away: what is for everybody stays, and the rest says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.app import Gateway
from tests.pages.conftest import STELLA
from tests.support.browsing import Browser, sign_in
from tests.support.servers import free_port


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases: each says in its own way that it is not there."""
    return database_url


@pytest.fixture
async def away(gateway: Gateway, browser: Browser, tmp_path: Path) -> AsyncIterator[None]:
    """Somebody signed in, and then nothing could be reached any more."""
    await sign_in(browser, gateway, "ada@example.org")
    there = gateway.database.engine
    nowhere = make_url(there.url).set(port=free_port(), host="127.0.0.1")
    if gateway.database.is_sqlite:
        nowhere = make_url(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/gateway.db")
    gateway.database.engine = create_async_engine(nowhere)
    yield
    gateway.database.engine = there


@pytest.mark.usefixtures("away")
async def test_what_is_for_everybody_is_still_there(browser: Browser):
    for path in ("/", "/models", f"/models/{STELLA}", "/calculator", "/docs", "/docs/errors"):
        assert (await browser.get(path)).status_code == 200, path
        assert 'href="/console"' in browser.page.text, "who seems signed in is not asked to again"
    await browser.get("/calculator")
    assert (await browser.submit("/calculator", model=STELLA, text="hi")).status_code == 200
    status = await browser.get("/status")
    assert status.status_code == 200
    assert "be read at the moment" in status.text
    assert "Coming soon" in status.text


@pytest.mark.usefixtures("away")
async def test_what_needs_the_books_says_to_come_back(browser: Browser):
    for path in ("/console", "/console/keys", "/console/usage", "/console/settings"):
        assert (await browser.get(path)).status_code == 503, path
        assert "books can&#39;t be reached" in browser.page.text
        assert "our mistake" not in browser.page.text
        assert int(browser.page.headers["retry-after"]) > 0
    for path in ("/console/keys", "/vote", "/waitlist"):
        answer = await browser.http.post(
            path,
            data={"csrf_token": "0" * 64, "name": "my key", "model": STELLA},
            headers={"sec-fetch-site": "same-origin"},
        )
        assert answer.status_code == 503, path
        assert "my key" in answer.text, "what was typed stays"


async def test_it_comes_back(gateway: Gateway, browser: Browser, tmp_path: Path):
    await sign_in(browser, gateway, "ada@example.org")
    there = gateway.database.engine
    gateway.database.engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/no/such.db")
    assert (await browser.get("/console")).status_code == 503
    gateway.database.engine = there
    assert (await browser.get("/console")).status_code == 200
