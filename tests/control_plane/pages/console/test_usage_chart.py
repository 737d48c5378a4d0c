"""The chart of usage: its metric, its split, the span before it, and what the overview says."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from gateway import wall
from gateway.app.process import Process
from gateway.control_plane.pages.console.usage import address
from gateway.control_plane.pages.console.usage_chart import HOURLY_DAYS, Picked
from gateway.control_plane.status.answers import LATENCY_HOURS_DAYS
from gateway.data_plane.metering.port import BudgetExceeded
from gateway.storage.tables import (
    answer_hours,
    api_keys,
    error_hours,
    latency_days,
    latency_hours,
)
from testing.browsing import Browser, sign_in, squeezed
from tests.control_plane.conftest import MINILM, STELLA, rows
from tests.control_plane.pages.console.conftest import use


@pytest.fixture
def where(database_url: str) -> str:
    """Both databases, for what is written and read here."""
    return database_url


def hour(days_ago: int = 0) -> datetime:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - timedelta(days=days_ago)


def numbers(page: str) -> list[list[str]]:
    """Return the table below the chart, its head first."""
    table = page[page.index("as numbers") :].partition("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [[cell.strip() for cell in row] for row in cells]


def panels(page: str) -> list[list[str | list[str]]]:
    """Return each chart's name, the words beside the span before, and its numbers."""
    return [
        [
            *re.findall(r"<(?:h3|p class=\"small muted\")>(.*?)</", part, re.DOTALL)[:2],
            *(row[1:] for row in numbers(part)[1:]),
        ]
        for part in page.partition('class="panels"')[2].split("<h3>")[1:]
        for part in ["<h3>" + part]
    ]


async def test_usage_is_split_and_held_beside_the_span_before(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    await use(gateway, 1_000)
    await use(gateway, 3_000, model=STELLA)
    await use(gateway, 500, days_ago=3)
    await use(gateway, 2_000, days_ago=7)  # of the week before
    await use(gateway, 7_000, days_ago=15)
    page = (await browser.get("/console/usage?days=7&metric=tokens&split=model")).text
    assert "125% more than the 7 days before (2K)" in squeezed(page)
    table = numbers(page)
    assert table[0] == ["Day, UTC", STELLA, MINILM, "Total"]
    assert [row[1:] for row in table[1:]] == [["3,000", "1,000", "4,000"], ["0", "500", "500"]]
    assert table[1][0].endswith("(so far)")
    assert page.count('class="bar hue-1 goes-on') == page.count('class="bar hue-2 goes-on') == 1
    page = (await browser.get("/console/usage?days=7&split=key")).text
    assert "> prod" in squeezed(page) or ">prod" in squeezed(page)
    assert "<title>" in page
    (key, *_) = await rows(gateway, select(api_keys))
    page = (await browser.get(f"/console/usage?days=7&metric=requests&key={key.id}")).text
    assert [row[1] for row in numbers(page)[1:]] == ["2", "1"]
    page = (await browser.get(f"/console/usage?days=7&metric=tokens&model={MINILM}")).text
    assert [row[1] for row in numbers(page)[1:]] == ["1,000", "500"]
    assert (await browser.get("/console/usage?metric=fun")).status_code == 400


async def test_short_spans_are_drawn_by_the_hour(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    await use(gateway, 1_000)
    await use(gateway, 4_000, days_ago=1)
    page = (await browser.get("/console/usage?days=1&metric=tokens")).text
    table = numbers(page)
    assert [row[1] for row in table] == ["Total", "1,000"]
    assert f"{hour():%H:%M} UTC" in table[1][0]
    assert "75% less than yesterday up to this hour (4K)" in squeezed(page)
    table = numbers((await browser.get("/console/usage?days=2&metric=tokens")).text)
    assert [row[1] for row in table[1:]] == ["1,000", "4,000"]


async def test_many_groups_are_four_and_the_rest(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    for n in range(7):
        await use(gateway, 100 * (7 - n), model=f"lab/m-{n}")
    table = numbers((await browser.get("/console/usage?metric=tokens&split=model")).text)
    assert table[0][1:] == ["lab/m-0", "lab/m-1", "lab/m-2", "lab/m-3", "All others", "Total"]
    assert table[1][1:] == ["700", "600", "500", "400", "600", "2,800"]


async def test_errors_and_latency_have_charts(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    (key,) = await rows(gateway, select(api_keys))
    owner = {"organization_id": key.organization_id}
    failed = {**owner, "key_id": key.id, "status": 404, "code": "model_not_found"}
    slow = {**owner, "status_class": 2}
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(error_hours),
            [
                {**failed, "hour": hour(), "model_id": "", "errors": 4},
                {**failed, "hour": hour(), "model_id": MINILM, "errors": 3},
                {**failed, "hour": hour(2), "model_id": MINILM, "errors": 2},
                {**failed, "hour": hour(30), "model_id": MINILM, "errors": 3},
            ],
        )
        await connection.execute(
            insert(answer_hours),
            [
                {**slow, "hour": hour(), "latency_ms": 50, "answers": 90},
                {**slow, "hour": hour(), "latency_ms": 700, "answers": 10},
                {**slow, "hour": hour(1), "latency_ms": 20, "answers": 1},
                {**slow, "hour": hour(30), "latency_ms": 300, "answers": 1},
                {**slow, "hour": hour(), "status_class": 4, "latency_ms": 5000, "answers": 99},
            ],
        )
    page = (await browser.get("/console/usage?metric=errors&split=model")).text
    assert "200% more than the 30 days before (3)" in squeezed(page)
    table = numbers(page)
    assert table[0][1:] == [MINILM, "No model", "Total"]
    assert [row[1:] for row in table[1:]] == [["3", "4", "7"], ["2", "0", "2"]]
    table = numbers((await browser.get("/console/usage?metric=errors&split=key&days=2")).text)
    assert [row[1] for row in table[1:]] == ["7"]
    page = (await browser.get("/console/usage?metric=latency")).text
    assert [row[1:] for row in numbers(page)] == [
        ["p50", "p95"],
        ["50 ms", "700 ms"],
        ["20 ms"] * 2,
    ]
    assert "p95 was 300 ms in the 30 days before" in page
    table = numbers((await browser.get("/console/usage?metric=latency&days=2")).text)
    assert [row[1:] for row in table[1:]] == [["50 ms", "700 ms"], ["20 ms", "20 ms"]]


async def test_latency_is_split_by_key_and_model(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    for name in ("prod", "batch"):
        await browser.submit("/console/keys", name=name)
    found = {key.name: key for key in await rows(gateway, select(api_keys))}
    await use(gateway, 1_000)
    measured = [  # key, model, days ago, bound, answers
        ("prod", MINILM, 0, 20, 90),
        ("prod", MINILM, 0, 50, 10),
        ("prod", MINILM, 2, 10, 5),
        ("prod", MINILM, 30, 15, 1),
        ("batch", STELLA, 0, 700, 3),
        ("batch", STELLA, 45, 1_000, 1),
    ]
    async with gateway.core.database.write() as connection:
        for name, model_id, ago, bound, answers in measured:
            sums = {
                "organization_id": found[name].organization_id, "key_id": found[name].id,
                "model_id": model_id, "latency_ms": bound, "answers": answers,
            }  # fmt: skip
            await connection.execute(insert(latency_hours).values(**sums, hour=hour(ago)))
            await connection.execute(insert(latency_days).values(**sums, day=hour(ago).date()))
    page = (await browser.get("/console/usage?metric=latency&split=key")).text
    assert panels(page) == [
        ["prod", "p95 was 15 ms in the 30 days before", ["20 ms", "50 ms"], ["10 ms", "10 ms"]],
        ["batch", "p95 was 1 s in the 30 days before", ["700 ms", "700 ms"]],
    ]
    assert page.count("<span>800 ms</span>") == 2  # the ends of one scale
    by_key = squeezed(page[page.index('aria-label="By key"') :].partition("</table>")[0])
    assert 'data-label="p50">20 ms</td> <td class="number" data-label="p95">50 ms<' in by_key
    page = (await browser.get("/console/usage?metric=latency&split=model&days=2")).text
    assert panels(page) == [
        [MINILM, "p95 was 10 ms in the 2 days before", ["20 ms", "50 ms"]],
        [STELLA, "", ["700 ms", "700 ms"]],
    ]
    # a key's own: nothing of the organization's is drawn in its place
    for query, cells in (
        (f"key={found['batch'].id}", ["700 ms", "700 ms"]),
        (f"model={MINILM}&days=2", ["20 ms", "50 ms"]),
    ):
        page = (await browser.get(f"/console/usage?metric=latency&{query}")).text
        assert numbers(page)[1][1:] == cells
        assert panels(page) == []
    page = (await browser.get("/console/usage?metric=latency&split=key&key=nobody")).text
    assert "Nothing in this period." in page
    assert panels(page) == []


@pytest.mark.sqlite
async def test_many_keys_are_four_charts_and_the_rest_is_in_the_table(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="prod")
    (key,) = await rows(gateway, select(api_keys))
    for n in range(6):
        await use(gateway, 100, model=f"lab/m-{n}")
        async with gateway.core.database.write() as connection:
            await connection.execute(
                insert(latency_days).values(
                    organization_id=key.organization_id, key_id=key.id, model_id=f"lab/m-{n}",
                    latency_ms=10, answers=n + 1, day=hour().date(),
                )
            )  # fmt: skip
    page = (await browser.get("/console/usage?metric=latency&split=model")).text
    assert [panel[0] for panel in panels(page)] == [f"lab/m-{n}" for n in (5, 4, 3, 2)]
    assert "These have the most requests" in squeezed(page)
    assert page.count('data-label="p95">10 ms') == 7


def test_hours_by_key_are_kept_for_the_chart_and_the_span_before():
    assert 2 * HOURLY_DAYS <= LATENCY_HOURS_DAYS


async def test_a_used_up_budget_is_told(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    await browser.submit("/console/keys", name="ci-nightly", budget="0.000005")
    (key,) = await rows(gateway, select(api_keys))
    for path in ("/console", "/console/keys"):
        assert "sed up" not in (await browser.get(path)).text
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(error_hours).values(
                organization_id=key.organization_id, key_id=key.id, model_id=MINILM, hour=hour(),
                status=402, code=BudgetExceeded.code, errors=26,
            )
        )  # fmt: skip
    overview = squeezed((await browser.get("/console")).text)
    assert "26 requests of key <strong>ci-nightly</strong> were refused today." in overview
    assert f'href="/console/keys/{key.id}">Raise the budget of ci-nightly</a>' in overview
    assert "Used up: 26 refused today" in (await browser.get("/console/keys")).text


@pytest.mark.sqlite
async def test_the_overview_tells_for_how_long_the_balance_lasts(
    gateway: Process, browser: Browser
):
    await sign_in(browser, gateway, "ada@example.org")
    assert "no usage in the last 7 days" in browser.page.text
    await browser.submit("/console/keys", name="prod")
    await use(gateway, 18_000_000)  # 144 million nanos in the week: 20.6 a day of 250
    assert "about 12 days at this week&#39;s pace" in (await browser.get("/console")).text


def test_an_address_says_only_what_is_not_as_usual():
    usual = Picked(now=wall.now())
    assert address(usual) == "/console/usage"
    chosen = Picked(now=wall.now(), days=7, split="key", model_id="a/b")
    assert address(chosen) == "/console/usage?days=7&split=key&model=a%2Fb"


@pytest.mark.sqlite
async def test_to_htmx_the_address_is_told(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org")
    path = "/console/usage?days=30&metric=tokens&split=none&key=&model="
    answer = await browser.get(path, headers={"hx-request": "true"})
    assert answer.headers["hx-replace-url"] == "/console/usage?metric=tokens"
    assert "hx-replace-url" not in (await browser.get(path)).headers
