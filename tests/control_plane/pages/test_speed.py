"""Pages stay quick: at most ten queries each. Their time: `python -m benchmarks.pages`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import event

from gateway.app.process import Process
from testing.browsing import Browser, sign_in
from testing.filling import PAGES, Size, fill
from tests.control_plane.conftest import STELLA

QUERIES_MAX = 10
_asking: ContextVar[bool] = ContextVar("asking", default=False)


@contextmanager
def counted(gateway: Process) -> Iterator[list[str]]:
    """Collect the statements that are sent to the database from here, and by no job meanwhile."""
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_) -> None:
        if _asking.get() and not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    engine = gateway.core.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    before = _asking.set(True)
    yield statements
    _asking.reset(before)
    event.remove(engine, "before_cursor_execute", note)


async def test_no_page_asks_the_database_more_than_ten_times(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await gateway.services.outbox.deliver()
    size = Size(models=60, votes=20, own_votes=5, requests=200, days=3, keys=3, shards=2, others=2)
    filled = await fill(gateway, size)
    assert (filled["votes"], filled["requests of the visitor"]) == (25, 200)
    counts = {}
    for path in PAGES:
        with counted(gateway) as statements:
            assert (await browser.get(path)).status_code == 200
        counts[path] = len(statements)
    assert max(counts.values()) <= QUERIES_MAX, counts
    assert counts["/console"] >= 1  # the counter counts


async def test_public_pages_ask_nothing_of_the_database(gateway: Process, browser: Browser):
    for path in ("/", "/models", f"/models/{STELLA}", "/compare", "/docs"):
        with counted(gateway) as statements:
            await browser.get(path)
        assert statements == []
