"""The pages while the database is away: what is for everybody stays, and the rest says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from gateway.app.process import Process
from gateway.storage.database import Database, DatabaseAway
from testing.browsing import Browser, sign_in
from testing.servers import free_port
from tests.control_plane.conftest import STELLA


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases: each says in its own way that it is not there."""
    return database_url


@pytest.fixture
async def away(gateway: Process, browser: Browser, tmp_path: Path) -> AsyncIterator[None]:
    """Somebody signed in, and then nothing could be reached any more."""
    await sign_in(browser, gateway, "ada@example.org")
    there = gateway.core.database.engine
    nowhere = make_url(there.url).set(port=free_port(), host="127.0.0.1")
    if gateway.core.database.is_sqlite:
        nowhere = make_url(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/gateway.db")
    gateway.core.database.engine = create_async_engine(nowhere)
    yield
    gateway.core.database.engine = there


@pytest.mark.usefixtures("away")
async def test_what_is_for_everybody_is_still_there(browser: Browser):
    for path in ("/", "/models", f"/models/{STELLA}", "/calculator", "/docs", "/docs/errors"):
        assert (await browser.get(path)).status_code == 200, path
        assert 'href="/console"' in browser.page.text, "who seems signed in is not asked to again"
    await browser.get("/calculator")
    assert (await browser.submit("/calculator", model=STELLA, text="hi")).status_code == 200
    status = await browser.get("/status")
    assert status.status_code == 200
    assert "temporarily unavailable" in status.text
    assert "No ready worker" in status.text
    told = await browser.get("/status.json")
    assert (told.status_code, told.json()["incidents"]) == (200, None)
    assert (await browser.get("/status/badge.svg")).status_code == 200
    assert (await browser.get("/status.rss")).status_code == 503  # an empty one would say: none


@pytest.mark.usefixtures("away")
async def test_what_needs_the_books_says_to_come_back(browser: Browser):
    for path in ("/console", "/console/keys", "/console/usage", "/console/settings"):
        assert (await browser.get(path)).status_code == 503, path
        assert "database is temporarily unavailable" in browser.page.text
        assert "went wrong" not in browser.page.text
        assert int(browser.page.headers["retry-after"]) > 0
    for path in ("/console/keys", "/vote", "/waitlist"):
        answer = await browser.http.post(
            path,
            data={"csrf_token": "0" * 64, "name": "my key", "model": STELLA},
            headers={"sec-fetch-site": "same-origin"},
        )
        assert answer.status_code == 503, path
        assert "my key" in answer.text, "what was typed stays"


async def test_nobody_is_told_that_they_signed_out_when_they_did_not(
    gateway: Process, browser: Browser, tmp_path: Path
):
    await sign_in(browser, gateway, "ada@example.org")
    there = gateway.core.database.engine
    gateway.core.database.engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/no/such.db")
    answer = await browser.http.post("/sign-out", headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 503
    assert "whether it was done" in answer.text
    gateway.core.database.engine = there
    assert (await browser.get("/console")).url.path == "/console"


async def test_a_database_that_goes_away_in_the_middle_is_away(postgresql_database_url: list[str]):
    database, other = [Database(postgresql_database_url[0]) for _ in range(2)]

    async def die(connection: AsyncConnection) -> None:
        pid = await connection.scalar(text("SELECT pg_backend_pid()"))
        async with other.write() as killer:
            await killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    with pytest.raises(DatabaseAway):
        async with database.read() as connection:
            await die(connection)  # after its last query
    with pytest.raises(DatabaseAway):  # noqa: PT012
        async with database.write() as connection:
            await die(connection)
            await connection.execute(text("SELECT 1"))
    with pytest.raises(DatabaseAway):  # noqa: PT012
        async with database.write() as connection:
            await connection.execute(text("SELECT 1"))
            raise TimeoutError  # as the driver does where an answer takes too long
    await database.close()
    await other.close()


async def test_it_comes_back(gateway: Process, browser: Browser, tmp_path: Path):
    await sign_in(browser, gateway, "ada@example.org")
    there = gateway.core.database.engine
    gateway.core.database.engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/no/such.db")
    assert (await browser.get("/console")).status_code == 503
    gateway.core.database.engine = there
    assert (await browser.get("/console")).status_code == 200
