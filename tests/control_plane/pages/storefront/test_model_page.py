"""The model page shows what was measured and read, says of what and when, and no more."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, update

from gateway.app.process import Process
from gateway.control_plane.catalog import content
from gateway.control_plane.catalog.content import AtDimension
from gateway.control_plane.catalog.elsewhere import offers
from gateway.control_plane.pages.storefront.dimension_chart import drawn, scale
from gateway.identifiers import new_id
from gateway.storage.tables import incidents, model_answers, models
from testing.browsing import Browser, sign_in
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.pages.conftest import PATH, Fields

DASH = "\N{EN DASH}"
LIVE = f"/models/{MINILM}"
NOMIC = "nomic-ai/nomic-embed-text-v1.5"
INT8 = Path(__file__).parents[4] / "docs" / "benchmarks" / "int8.md"


async def told(browser: Browser, path: str) -> str:
    """Return the words of a page."""
    page = (await browser.get(path)).text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def test_what_was_not_measured_is_said_not_made_up(browser: Browser):
    words = await told(browser, LIVE)
    assert f"Latency p50 · p95, 24 h {DASH} Too few requests to say" in words
    assert f"Server errors (5xx) {DASH} {DASH}" in words
    assert f"Tokens per second, busiest hour {DASH} {DASH}" in words
    assert re.search(f"Uptime {DASH} measured since [^,]+, [0-9:]+ UTC", words)
    assert f"Uptime {DASH} {DASH}" in words


async def test_what_was_measured_is_shown(gateway: Process, browser: Browser):
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    async with gateway.core.database.write() as connection:
        await connection.execute(update(models).values(created_at=now - timedelta(days=200)))
        down = now - timedelta(days=3)
        await connection.execute(
            insert(incidents).values(
                id=new_id(), model_id=MINILM, started_at=down, ended_at=down + timedelta(minutes=5)
            )
        )
        for status_class, ms, answers in [(2, 30, 90), (2, 200, 9), (5, 30, 1)]:
            await connection.execute(
                insert(model_answers).values(
                    hour=hour, model_id=MINILM, status_class=status_class, latency_ms=ms,
                    answers=answers,
                )
            )  # fmt: skip
    await gateway.services.performances.refresh()
    words = await told(browser, LIVE)
    assert "Latency p50 · p95, 24 h 30 · 200 ms" in words
    assert "Uptime, 90 days 99.99%" in words
    assert "Uptime 100% 99.98%" in words
    assert "Server errors (5xx) 1% 1%" in words
    assert "99.65%, 5 min down" in words
    assert "89 days of the last 90 without downtime." in words


async def test_a_model_that_is_coming_claims_no_service(browser: Browser):
    words = await told(browser, PATH)
    assert "Uptime" not in words
    assert "Measured service" not in words
    assert "Not served yet." in words
    assert "Be the first to vote." in words
    assert "to lead" not in words


async def test_others_stand_where_their_price_puts_them(browser: Browser):
    page = (await browser.get(LIVE)).text
    table = page.partition('aria-label="Prices elsewhere"')[2].partition("</table>")[0]
    amounts = [float(amount) for amount in re.findall(r"~?\$([0-9.]+)<", table)]
    assert amounts == sorted(amounts)
    assert len(amounts) > 1
    shown = [offer for offer in offers() if offer.same_as in (None, MINILM)]
    assert len(amounts) == len(shown) + 1
    assert all(offer.source in table for offer in shown)
    assert table.count("<time") == len(shown)


def test_dimensions_are_drawn_for_models_that_have_scores_of_several():
    page = content.reviewed()[NOMIC]
    chart = drawn(page, 768)
    assert chart
    assert chart.benchmark == page.by_dimension_benchmark
    lengths = [point.dimensions for point in chart.points]
    assert lengths == sorted(lengths)
    assert [point.dimensions for point in chart.points if point.is_default] == [768]
    for point in chart.points:
        assert point.gigabytes == point.dimensions * 4 / 1000
        assert chart.marks[-1] <= point.score <= chart.marks[0]
    for nothing in (
        content.reviewed()[STELLA],
        msgspec.structs.replace(page, by_dimension=(AtDimension(dimensions=768, mean=62.3),)),
        msgspec.structs.replace(page, by_dimension_benchmark=None),
    ):
        assert drawn(nothing, 768) is None


def test_points_are_where_their_scores_are():
    scores = {8: 61.0, 32: 64.0}
    page = msgspec.structs.replace(
        content.reviewed()[NOMIC],
        by_dimension=tuple(
            AtDimension(
                dimensions=dimensions, mean=score, retrieval=50.0 if dimensions == 8 else None
            )
            for dimensions, score in reversed(scores.items())
        ),
    )
    chart = drawn(page, 16)
    assert chart
    assert (chart.score, chart.marks) == ("Mean over all tasks", [64.0, 62.0, 60.0])
    assert chart.line == "25,75 75,0"


@pytest.mark.parametrize("scores", [[50.0, 50.0], [56.1, 62.28], [0.0, 100.0], [99.9, 100.0]])
def test_a_scale_holds_its_scores(scores: list[float]):
    marks = scale(scores)
    assert marks[-1] <= min(scores) <= max(scores) <= marks[0]
    assert marks[0] - marks[1] == pytest.approx(marks[1] - marks[2])
    assert marks[0] > marks[-1]


async def test_the_chart_has_its_numbers(browser: Browser):
    words = await told(browser, f"/models/{NOMIC}")
    assert "Quality and storage by dimension" in words
    assert "The scale does not start at 0." in words
    assert re.search(r"768 \(default\) [\d.]+ 3.072", words)


def test_what_is_said_of_the_int8_weights_is_what_the_benchmark_found():
    served = content.reviewed()[MINILM].served
    assert served
    page = INT8.read_text()
    for said, found in [
        ("median cosine 0.9995", "median | 0.9995"),
        ("lowest 0.9978", "lowest | 0.9978"),
        ("94.9% of 257 queries keep their first", "same first result | 94.9%"),
        ("257 queries", "257 headings as queries"),
        ("measured 30 Nov 2026", "Measured 2026-11-30"),
    ]:
        assert said in served.note
        assert found in page


async def test_a_vote_can_be_edited_and_promises_one_email(gateway: Process, browser: Browser):
    await sign_in(browser, gateway, "ada@example.org", next_path=PATH)
    await browser.submit("/vote", model=STELLA, volume="250", price="0.01", use_case="search")
    page = browser.page.text
    assert "You voted; we will email you when it launches." in page
    assert "Edit your vote" in page
    assert 'action="/waitlist"' not in page
    values = Fields(browser.page).values
    assert (values["volume"], values["price"], values["use_case"]) == ("250", "0.01", "search")
    await browser.submit("/vote/withdraw", model=STELLA)
    assert "You voted" not in browser.page.text
    assert 'action="/waitlist"' in browser.page.text
