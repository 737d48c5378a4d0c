"""Pages stay quick: at most ten queries each, and as quick with many models and many votes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import event, insert

from gateway.app import Gateway
from gateway.identifiers import new_id
from gateway.storage.tables import demand_votes, users
from tests.pages.conftest import MINILM, STELLA
from tests.support.browsing import Browser, sign_in

QUERIES_MAX = 10
SERVER_SECONDS = 0.030
PATHS = [
    "/", "/models", f"/models/{STELLA}", f"/models/{MINILM}", "/compare", "/calculator", "/status",
    "/docs", "/docs/reference", "/sign-in", "/console", "/console/usage", "/console/keys",
    "/console/ledger", "/console/votes", "/console/settings",
]  # fmt: skip


@contextmanager
def counted(gateway: Gateway) -> Iterator[list[str]]:
    """Collect the statements that are sent to the database."""
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    engine = gateway.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


async def test_no_page_asks_the_database_more_than_ten_times(gateway: Gateway, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="k")
    await gateway.marketplace.outbox.deliver()
    counts = {}
    for path in PATHS:
        with counted(gateway) as statements:
            assert (await browser.get(path)).status_code == 200
        counts[path] = len(statements)
    assert max(counts.values()) <= QUERIES_MAX, counts
    assert counts["/console"] >= 1  # the counter counts


async def test_public_pages_ask_nothing_of_the_database(gateway: Gateway, browser: Browser):
    for path in ("/", "/models", f"/models/{STELLA}", "/compare", "/docs"):
        with counted(gateway) as statements:
            await browser.get(path)
        ours = [text for text in statements if "outbox" not in text and "api_keys" not in text]
        assert [text for text in ours if "demand" in text or "users" in text] == []


async def test_ten_thousand_votes_cost_a_page_nothing(gateway: Gateway, browser: Browser):
    now = datetime.now(UTC)
    ids = [new_id() for _ in range(10_000)]
    async with gateway.database.write() as connection:
        await connection.execute(
            insert(users),
            [
                {"id": i, "email": f"{i}@e.org", "address_key": i, "created_at": now, "welcome": ""}
                for i in ids
            ],
        )
        await connection.execute(
            insert(demand_votes),
            [
                {
                    "id": i, "model_id": STELLA, "user_id": i, "voter_key": i, "use_case": "",
                    "created_at": now,
                }
                for i in ids
            ],
        )  # fmt: skip
    await gateway.marketplace.interest.refresh()
    seconds = []
    for _ in range(20):
        started = time.process_time()  # the machine may be busy; our own time is what counts
        page = await browser.get(f"/models/{STELLA}")
        seconds.append(time.process_time() - started)
    assert "10,000 verified votes" in page.text
    assert sorted(seconds)[10] < SERVER_SECONDS, sorted(seconds)
