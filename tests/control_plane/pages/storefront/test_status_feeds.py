"""The status for programs: each number in its own field, and each item of the feed at its time."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET

import pytest

from gateway.control_plane.catalog.listings import Shelves
from gateway.control_plane.pages.storefront.service_state import ModelState, ServiceState
from gateway.control_plane.pages.storefront.status_feeds import (
    ModelStatus,
    answer_of,
    read_badge,
    read_feed,
)
from gateway.control_plane.status.api_health import ApiDays
from gateway.control_plane.status.day_bar import DayBar
from gateway.control_plane.status.incident_updates import IncidentUpdate
from gateway.control_plane.status.incidents import History, Incident, Past
from gateway.control_plane.status.performance import Downtime, ModelPerformance
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot
from testing.gateways import settings

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MODEL = ModelSnapshot(
    id="lab/a", state="live", price=PriceSnapshot("p", 8), dimensions=(8,), dimensions_default=8,
    tokens_max=8,
)  # fmt: skip


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def state(*incidents: Incident, is_known: bool = True) -> ServiceState:
    (listing,) = Shelves(lambda: Catalog({MODEL.id: MODEL}), {})().listings
    measured = ModelPerformance(
        as_of=NOW, live_since=ago(24 * 100), requests_24h=1_000, p50_ms=30, p95_ms=90,
        error_share_24h=0.01, error_share_30d=0.02, outages=(Downtime(ago(24 * 10), ago(24 * 9)),),
    )  # fmt: skip
    history = History(since=ago(24 * 90), is_whole=True, minutes_down={})
    return ServiceState(
        models=[ModelState(listing=listing, is_up=True, measured=measured)],
        more=0, down=0, live=1,
        api=ApiDays(as_of=ago(1), days=(DayBar(NOW.date(), 0.5, 0, 1_000),), share=0.75),
        past=Past(history, list(incidents)) if is_known else None,
    )  # fmt: skip


def test_each_number_has_its_field():
    told = answer_of(state())
    (model,) = told.models
    days = model.days
    assert model == ModelStatus(
        model="lab/a", status="operational", live_since=ago(24 * 100), uptime_24h=1.0,
        uptime_30d=pytest.approx(1 - 1 / 30), uptime_90d=pytest.approx(1 - 1 / 90), p50_ms=30,
        p95_ms=90, error_share_24h=0.01, error_share_30d=0.02, days=days,
    )  # fmt: skip
    assert [(day.day, day.uptime) for day in days if day.uptime != 1] == [
        (ago(24 * 10).date(), 0.5), (ago(24 * 9).date(), 0.5),
    ]  # fmt: skip
    assert (told.status, told.as_of, told.api.success_90d) == ("operational", ago(1), 0.75)
    assert [(day.day, day.uptime) for day in told.api.days] == [(NOW.date(), 0.5)]
    assert told.incidents == []
    assert answer_of(state(is_known=False)).incidents is None


def incident(name: str, *updates: float, ended: float | None = None) -> Incident:
    return Incident(
        id=name, model_id="lab/a", started_at=ago(9),
        ended_at=None if ended is None else ago(ended),
        updates=tuple(
            IncidentUpdate(id=f"{name}-{at}", posted_at=ago(at), title=f"T{at:g}", words=f"W{at:g}")
            for at in updates
        ),
    )  # fmt: skip


def test_an_item_of_the_feed_is_of_when_something_was_last_new():
    known = state(
        incident("open"), incident("told", 3, 5), incident("ended", 5, ended=4),
        incident("explained", 2, ended=4),
    )  # fmt: skip
    answer = read_feed.fn(service_state=known, settings=settings("sqlite://"))
    items = [
        (
            parsedate_to_datetime(item.findtext("pubDate") or ""),
            item.findtext("guid"),
            item.findtext("title"),
            item.findtext("description"),
        )
        for item in ET.fromstring(answer.content).iter("item")
    ]
    assert items == [
        (ago(9), "open", "lab/a was unavailable", "Going on."),
        (ago(3), "told", "T3", "Going on. W3"),
        (ago(4), "ended", "T5", "Resolved after 300 min. W5"),
        (ago(2), "explained", "T2", "Resolved after 300 min. W2"),
    ]
    away = read_feed.fn(service_state=state(is_known=False), settings=settings("sqlite://"))
    assert (answer.status_code, away.status_code) == (200, 503)


def test_the_badge_is_as_wide_as_its_words():
    answer = read_badge.fn(service_state=state(), settings=settings("sqlite://"))
    root = ET.fromstring(answer.content)
    whole, right, _edge = (one for one in root.iter() if one.tag.endswith("rect"))
    texts = [one for one in root.iter() if one.tag.endswith("text")]
    x, width = int(right.get("x", 0)), int(right.get("width", 0))
    assert root.get("width") == whole.get("width") == str(x + width)
    assert [float(one.get("x", 0)) for one in texts] == [x / 2, x + width / 2]
    for one, room in zip(texts, (x, width), strict=True):
        assert 7 <= room / len(one.text or "") <= 9
