"""Pages stay quick: at most ten queries each. Their time: `python -m benchmarks.pages`."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from benchmarks import pages
from gateway.app import Gateway
from tests.pages.conftest import STELLA
from tests.support.browsing import Browser, sign_in

QUERIES_MAX = 10


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
    await gateway.marketplace.outbox.deliver()
    size = pages.Size(votes=20, requests=200, days=3, keys=3, shards=2, others=2)
    filled = await pages.fill(gateway, size)
    assert (filled["votes"], filled["requests of the visitor"]) == (20, 200)
    counts = {}
    for path in pages.PAGES:
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
