"""What pages read: sums by the day, however many hours and requests are behind them."""

from typing import Any

import pytest
from sqlalchemy import event

from gateway.app.process import Process
from testing import marketplace
from testing.browsing import Browser, sign_in

ROWS_MAX = 5_000
"""Most rows of sums that a page reads, where an organization has 17,280 of errors by the hour."""


@pytest.fixture
def where(postgresql_database_url: list[str]) -> str:
    """PostgreSQL, which counts the rows that a statement reads."""
    return postgresql_database_url[0]


async def test_no_page_reads_months_of_hours(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    size = marketplace.Size(
        models=5, votes=5, own_votes=5, requests=200, days=90, keys=2, shards=1, latencies=2,
        logged=50, codes=2, others=1,
    )  # fmt: skip
    await marketplace.fill(gateway, size)
    read = {
        path: await rows_read(gateway, browser, path)
        for path in marketplace.PAGES
        if path.startswith("/console")
    }
    assert max(read.values()) <= ROWS_MAX, read
    assert read["/console/usage?days=90&metric=errors&split=key"] > size.days


async def rows_read(gateway: Process, browser: Browser, path: str) -> int:
    """Open a page, and return how many rows of hours and days its statements read once more."""
    asked: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        is_read = statement.startswith(("SELECT", "WITH"))  # a job may write sums meanwhile
        if is_read and ("_hours" in statement or "_days" in statement):
            asked.append((statement, parameters))

    engine = gateway.core.database.engine
    event.listen(engine.sync_engine, "before_cursor_execute", hear)
    assert (await browser.get(path)).status_code == 200
    event.remove(engine.sync_engine, "before_cursor_execute", hear)
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        counted = (
            "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) "
            "FROM pg_stat_xact_user_tables WHERE relname ~ '_(hours|days)$'"
        )
        async with driver.transaction():
            before = await driver.fetchval(counted)  # by a job that had this connection
            for statement, parameters in asked:
                await driver.fetch(statement, *parameters)
            return int(await driver.fetchval(counted) - before)
