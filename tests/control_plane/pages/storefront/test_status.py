"""The status page claims what was watched, and nothing before."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from xml.etree import ElementTree as ET

import msgspec
import pytest
from sqlalchemy import insert, select, update

from gateway.app.process import Process
from gateway.control_plane.back_office import incidents as back_office
from gateway.control_plane.catalog import catalog
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.control_plane.pages.storefront.day_bars import bars
from gateway.control_plane.pages.storefront.service_state import state_of
from gateway.control_plane.pages.storefront.status_feeds import StatusAnswer
from gateway.control_plane.status.api_health import ApiDays, ApiHealth
from gateway.control_plane.status.day_bar import RESPONSES_MIN, DayBar
from gateway.control_plane.status.incident_updates import (
    TITLE_CHARACTERS_MAX,
    UPDATES_MAX,
    WORDS_CHARACTERS_MAX,
    BadUpdate,
    IncidentNotFound,
)
from gateway.control_plane.status.incidents import history
from gateway.control_plane.status.performance import DAYS
from gateway.dates import moment_text
from gateway.identifiers import new_id
from gateway.snapshots import WorkerStatus
from gateway.storage.tables import incidents, model_answers, models, trail_entries
from testing.browsing import Browser, sign_in
from testing.operators import sign_in_operator
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.pages.conftest import counted

NOW = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)


async def incident(gateway: Process, began: datetime, ended: datetime | None) -> str:
    incident_id = new_id()
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(incidents).values(
                id=incident_id, model_id=MINILM, started_at=began, ended_at=ended
            )
        )
    return incident_id


async def post(gateway: Process, incident_id: str, title: str, words: str) -> None:
    async with gateway.core.database.write() as connection:
        await back_office.post(
            connection, COMMAND_LINE, incident_id, title=title, words=words, reason="asked"
        )


async def test_a_new_service_does_not_speak_of_the_last_90_days(browser: Browser):
    page = (await browser.get("/status")).text
    assert "This service is less than 90 days old" in page
    assert f"{datetime.now(UTC):%Y-%m-%d}T" in page.partition("history begins")[2]
    assert "No incidents" in page
    assert "No requests yet" in page


async def test_downtime_is_counted_within_the_days(gateway: Process, browser: Browser):
    now = datetime.now(UTC)
    async with gateway.core.database.write() as connection:
        await connection.execute(update(models).values(created_at=now - timedelta(days=200)))
    for began, ended in [
        (now - timedelta(days=120), now - timedelta(days=119)),  # too long ago
        (now - timedelta(days=91), now - timedelta(days=90, minutes=-5)),  # 5 are left
        (now - timedelta(hours=2), now - timedelta(minutes=110)),
        (now - timedelta(minutes=3), None),
    ]:
        await incident(gateway, began, ended)
    async with gateway.core.database.read() as connection:
        known = await history(connection, 90, now)
    assert known.is_whole
    assert known.minutes_down == {MINILM: 18}
    page = (await browser.get("/status")).text
    assert "less than" not in page
    assert page.count("<article") == 3
    assert page.count("Going on") == 1


async def test_only_live_models_are_shown(browser: Browser):
    page = (await browser.get("/status")).text
    assert f'href="/models/{MINILM}"' in page
    assert STELLA not in page


async def test_a_crowd_reads_the_past_once_in_some_seconds(gateway: Process, browser: Browser):
    await incident(gateway, datetime.now(UTC) - timedelta(hours=1), None)
    with counted(gateway) as statements:
        pages = await asyncio.gather(*(browser.http.get("/status") for _ in range(20)))
    assert {page.status_code for page in pages} == {200}
    assert 1 <= len(statements) <= 5


@pytest.mark.parametrize("options", [{"status_views_per_hour": 2}])
@pytest.mark.parametrize("path", ["/status", "/status.json", "/status.rss", "/status/badge.svg"])
async def test_a_visitor_sees_it_so_often(browser: Browser, path: str):
    statuses = [(await browser.get(path)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize(
    ("ready", "words", "level"),
    [
        ([MINILM, STELLA], "All systems operational", "operational"),
        ([MINILM], "1 of 2 models can't answer", "degraded"),
        ([], "No model can answer", "down"),
    ],
)
async def test_the_state_in_a_sentence(gateway: Process, ready: list[str], words: str, level: str):
    async with gateway.core.database.write() as connection:
        await catalog.set_state(connection, STELLA, "live")
    await gateway.core.catalog.refresh()
    workers = [WorkerStatus(model, model in ready) for model in (MINILM, STELLA)]
    workers.append(WorkerStatus(MINILM, ready=False))  # one that is ready is enough
    services = gateway.services
    state = state_of(services.shelves(), workers, services.performances, ApiDays(), None)
    assert (state.words, state.level) == (words, level)
    assert [one.is_up for one in state.models] == sorted(one.is_up for one in state.models)


async def test_what_an_operator_says_is_public(gateway: Process, browser: Browser):
    began = datetime.now(UTC) - timedelta(hours=2)
    incident_id = await incident(gateway, began, began + timedelta(minutes=9))
    await post(gateway, incident_id, "A full disk", "We look into it.")
    await post(gateway, incident_id, " Disk replaced & full ", "It is <b>replaced</b>.")
    page = (await browser.get("/status")).text
    assert "<h3>Disk replaced &amp; full</h3>" in page
    assert page.index("It is &lt;b&gt;replaced&lt;/b&gt;.") < page.index("We look into it.")
    assert "A full disk" not in page
    feed = await browser.get("/status.rss")
    assert feed.headers["content-type"].startswith("application/rss+xml")
    (item,) = ET.fromstring(feed.text).iter("item")
    assert item.findtext("title") == "Disk replaced & full"
    assert item.findtext("description") == "Resolved after 9 min. It is <b>replaced</b>."
    assert f'id="{incident_id}"' in page
    assert (item.findtext("link") or "").endswith(f"/status#{incident_id}")
    async with gateway.core.database.read() as connection:
        found = (await connection.execute(select(trail_entries))).all()
    assert [entry.action for entry in found] == ["incident.update_posted"] * 2


async def test_an_operator_is_led_to_where_words_are_written(gateway: Process, browser: Browser):
    incident_id = await incident(gateway, datetime.now(UTC) - timedelta(hours=2), None)
    await sign_in(browser, gateway, "ada@example.com")
    assert f"/admin/incidents/{incident_id}" not in (await browser.get("/status")).text
    await sign_in_operator(browser, gateway, "ops@example.com", "read")
    assert f'href="/admin/incidents/{incident_id}"' in (await browser.get("/status")).text


async def test_a_feed_is_xml_whatever_was_pasted_into_the_words(gateway: Process, browser: Browser):
    incident_id = await incident(gateway, datetime.now(UTC) - timedelta(hours=2), None)
    await post(
        gateway, incident_id, "A full\x08 disk\ufffe", "\x1b[1mReplaced\x1b[0m,\r\nas we\tsaid."
    )
    (item,) = ET.fromstring((await browser.get("/status.rss")).text).iter("item")
    assert item.findtext("title") == "A full disk"
    assert item.findtext("description") == "Going on. [1mReplaced[0m,\nas we\tsaid."


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("", "words"),
        ("title", " "),
        ("x" * (TITLE_CHARACTERS_MAX + 1), "words"),
        ("title", "x" * (WORDS_CHARACTERS_MAX + 1)),
    ],
)
async def test_words_have_bounds(gateway: Process, title: str, words: str):
    incident_id = await incident(gateway, NOW, None)
    with pytest.raises(BadUpdate):
        await post(gateway, incident_id, title, words)
    with pytest.raises(IncidentNotFound):
        await post(gateway, new_id(), "title", "words")


async def test_updates_have_a_bound(gateway: Process):
    incident_id = await incident(gateway, NOW, None)
    for number in range(UPDATES_MAX):
        await post(gateway, incident_id, "title", f"words {number}")
    with pytest.raises(BadUpdate):
        await post(gateway, incident_id, "title", "words")


async def test_a_form_that_is_sent_twice_says_it_once(gateway: Process):
    incident_id = await incident(gateway, NOW, None)
    await post(gateway, incident_id, "title", "words")
    with pytest.raises(BadUpdate):
        await post(gateway, incident_id, " title", "words ")
    await post(gateway, incident_id, "title", "more words")
    await post(gateway, incident_id, "title", "words")  # which may be true once more


async def test_programs_of_other_sites_read_it(gateway: Process, browser: Browser):
    began = datetime.now(UTC) - timedelta(hours=2)
    incident_id = await incident(gateway, began, None)
    await gateway.services.performances.refresh()
    answer = await browser.get("/status.json")
    assert answer.headers["access-control-allow-origin"] == "*"
    told = msgspec.json.decode(answer.content, type=StatusAnswer)
    assert told.status == "down"  # no worker is here
    (model,) = told.models
    assert (model.model, model.status, model.p50_ms) == (MINILM, "down", None)
    assert len(model.days) == DAYS
    assert told.incidents
    (one,) = told.incidents
    assert (one.id, one.ended_at, one.updates) == (incident_id, None, [])
    assert one.title == f"{MINILM} was unavailable"
    document = (await browser.get("/openapi.json")).json()
    assert document["paths"]["/status.json"]["get"]["operationId"] == "getStatus"


async def test_the_badge_says_the_state(browser: Browser):
    badge = await browser.get("/status/badge.svg")
    assert badge.headers["content-type"].startswith("image/svg+xml")
    words = [text for _, text in _texts(badge.text)]
    assert words == ["Stella Gateway", "down"]


def _texts(svg: str) -> Sequence[tuple[str, str]]:
    root = ET.fromstring(svg)
    return [(one.tag, one.text or "") for one in root.iter() if one.tag.endswith("text")]


async def test_the_apis_days_are_those_of_its_responses(gateway: Process):
    answers = [
        (NOW, 2, 98), (NOW, 5, 2), (NOW - timedelta(days=1), 4, 10),
        (NOW - timedelta(days=89), 5, 10), (NOW - timedelta(days=90), 5, 1000),
    ]  # fmt: skip
    async with gateway.core.database.write() as connection:
        for at, status_class, count in answers:
            await connection.execute(
                insert(model_answers).values(
                    hour=at.replace(minute=0), model_id="", status_class=status_class,
                    latency_ms=1, answers=count,
                )
            )  # fmt: skip
    health = ApiHealth(gateway.core.database, clock=lambda: NOW)
    for _ in "twice":
        await health.refresh()
        found = health.known
        assert [bar.uptime for bar in found.days[-2:]] == [1.0, pytest.approx(0.98)]
        assert found.days[0].uptime == 0
        assert {bar.uptime for bar in found.days[1:-2]} == {None}
        assert found.share == pytest.approx(1 - 12 / 120)


def test_days_of_a_kind_are_one_stroke():
    day = NOW.date()
    shares = [None, None, 1.0, 1.0, 0.999, 0.5, 1.0]
    days = [DayBar(day + timedelta(days=at), share, 0) for at, share in enumerate(shares)]
    drawn = bars(days)
    assert [stroke.kind for stroke in drawn.strokes] == ["none", "up", "part", "down", "up"]
    assert [(stroke.start, stroke.end) for stroke in drawn.strokes] == [
        (0, 7), (8, 15), (16, 19), (20, 23), (24, 27),
    ]  # fmt: skip
    assert drawn.width == 27
    assert drawn.strokes[2].title == "2 Dec 2026: 99.9%"
    assert bars([]).strokes == []


def test_a_day_of_few_responses_is_neither_good_nor_bad():
    few = DayBar(NOW.date(), 0.97, 0, RESPONSES_MIN - 1)
    enough = DayBar(NOW.date(), 0.97, 0, RESPONSES_MIN)
    assert [stroke.kind for stroke in bars([few, enough]).strokes] == ["few", "down"]
    assert bars([few]).strokes[0].title.endswith(": 99 responses, too few to say")


async def test_few_responses_are_said_not_judged(gateway: Process, browser: Browser):
    async with gateway.core.database.write() as connection:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for status_class, count in [(2, 46), (5, 1)]:
            await connection.execute(
                insert(model_answers).values(
                    hour=hour, model_id="", status_class=status_class, latency_ms=1, answers=count
                )
            )
    await gateway.services.api_health.refresh()
    page = (await browser.get("/status")).text
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert "47 responses: too few to say" in words
    assert "97.87%" not in page
    assert 'class="down"' not in page.partition("<h3>API</h3>")[2].partition("</svg>")[0]


async def test_a_short_incident_has_no_invented_minute(gateway: Process, browser: Browser):
    began = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
    await incident(gateway, began, began + timedelta(seconds=20))
    page = (await browser.get("/status")).text
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert f"{moment_text(began)} · under a minute No cause was published." in words


async def test_what_is_not_measured_is_said(browser: Browser):
    page = (await browser.get("/status")).text
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert "A full outage may be under-reported" in words
    assert "We don't measure the console." in words
    assert "p95 not measured" in words
