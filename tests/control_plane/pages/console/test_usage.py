"""Usage in the console: the overview, the sums by day, key and model, and the ledger."""

import csv
import io
import re
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from gateway.app.process import Process
from gateway.control_plane.billing import usage
from gateway.control_plane.billing.usage import Filter
from gateway.storage.tables import (
    api_keys,
    organizations,
)
from testing.browsing import Browser, sign_in
from testing.front_door import posted
from tests.control_plane.conftest import MINILM, STELLA, rows
from tests.control_plane.pages.console.conftest import SECRET, use


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


async def test_usage_is_summed_by_day_key_and_model(
    gateway: Process, browser: Browser, now: datetime
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    await use(gateway, 500)
    await use(gateway, 1_500)
    await use(gateway, 4_000, days_ago=3, model=STELLA)
    await use(gateway, 9_999, days_ago=45)
    page = (await browser.get("/console/usage")).text
    assert page.count('class="reach"') == 2
    assert "$0.000016" in page  # 2,000 tokens of today
    assert re.search(r'">2</td>\s*<td [^>]*>2,000</td>', page)
    assert "9,999" not in page
    assert "9,999" in (await browser.get("/console/usage?days=90")).text

    async def table(query: str) -> list[dict[str, str]]:
        answer = await browser.get(f"/console/usage.csv?{query}")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        return list(csv.DictReader(io.StringIO(answer.text)))

    days = await table("by=day")
    assert [(d["requests"], d["tokens"], d["cost_nanos"]) for d in days] == [
        ("1", "4000", "32000"), ("2", "2000", "16000"),
    ]  # fmt: skip
    assert [(m["model"], m["tokens"]) for m in await table("by=model")] == [
        (STELLA, "4000"), (MINILM, "2000"),
    ]  # fmt: skip
    (used,) = await table(f"by=key&model={MINILM}")
    (key, *_) = await rows(gateway, select(api_keys))
    assert (used["key"], used["ends_with"], used["tokens"]) == (key.id, key.last_four, "2000")
    since = Filter(since=now.date() - timedelta(days=60))
    (organization, *_) = await rows(gateway, select(organizations.c.id))
    async with gateway.core.database.read() as connection:
        every = await usage.every_sum(connection, organization.id, since)
        for by, at_once in every.items():
            assert at_once == await usage.sums(connection, organization.id, since, by=by)
    assert [len(some) for some in every.values()] == [3, 1, 2]
    assert await table("by=day&key=nonsense") == []
    assert (await browser.get("/console/usage.csv?by=organization")).status_code == 400
    overview = (await browser.get("/console")).text
    assert "under $0.01" not in overview
    assert 'title="$0.000016">&lt; $0.0001</data></p>' in overview


@pytest.mark.usefixtures("now")  # it shows those of today
async def test_the_overview_shows_errors_and_latency(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    assert '<p class="value">–</p>' in browser.page.text  # noqa: RUF001 a dash is meant
    assert "Nothing in this period." in browser.page.text
    secret = SECRET.search((await browser.submit("/console/keys", name="k")).text)
    assert secret
    headers = {"authorization": f"Bearer {secret[0]}"}
    body = {"model": STELLA, "input": "hello"}
    answer = await posted(gateway, "/v1/embeddings", json=body, headers=headers)
    assert answer.status_code == 404  # coming soon
    ((organization,),) = await rows(gateway, select(organizations.c.id))
    (key,) = await rows(gateway, select(api_keys))
    for seconds in (0.04, 0.04, 1.2):
        gateway.data.records.answers.answered(organization, key.id, MINILM, 200, "", seconds)
    await gateway.data.answered.flush()
    page = (await browser.get("/console")).text
    assert page.count("of 4 responses") == 2
    for value in ("1", "50 ms"):
        assert f'<p class="value">{value}</p>' in page
    assert "p50; p95 1.5 s" in page
    assert 'href="/console/requests?outcome=errors"' in page


async def test_the_ledger_is_read_page_by_page(gateway: Process, browser: Browser):
    from gateway.control_plane.billing import credit

    await sign_in(browser, gateway, "ada@example.org")
    ((organization,),) = await rows(gateway, select(organizations.c.id))
    async with gateway.core.database.write() as connection:
        for n in range(60):
            await credit.grant(connection, organization, 1, source_ref=f"t:{n}")
        perk = f"launch:{STELLA}:{organization}"
        await credit.grant(connection, organization, 1, source_ref=perk)
    page = (await browser.get("/console/ledger")).text
    assert page.count("<td>Free credit: Stella EN 400M V5 is live</td>") == 1
    assert page.count("<td>Credit</td>") == 49
    older = re.search(r'href="(/console/ledger\?before=\d+)"', page)
    assert older
    assert (await browser.get(older[1])).text.count("<td>Credit</td>") == 11
    assert browser.page.text.count("<td>Free credit: welcome</td>") == 1
    for nonsense in ("0", "-1", "x", "9" * 20):
        assert (await browser.get(f"/console/ledger?before={nonsense}")).status_code == 400
