"""The status page for programs: JSON, a feed of incidents, and a badge."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from gateway import wall
from gateway.control_plane.pages.storefront.service_state import Level, ModelState, ServiceState
from gateway.control_plane.status.day_bar import DayBar
from gateway.control_plane.status.incidents import Incident
from gateway.control_plane.web.xml_text import xml_text
from gateway.errors import TooManyRequests
from gateway.settings import Settings
from gateway.wings import Operation

_SECONDS = 60
_ANYWHERE = {
    "access-control-allow-origin": "*",
    "cache-control": f"public, max-age={_SECONDS}",
}
_COLORS: dict[Level, str] = {"operational": "#126b41", "degraded": "#7f5200", "down": "#a52525"}
_CHARACTER_WIDTH = 6.6


class StatusDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day. `uptime` is 0 to 1; null: nothing was measured."""

    day: date
    uptime: float | None


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A live model; what was not measured is null."""

    model: str
    status: Literal["operational", "down"]
    live_since: datetime | None
    uptime_24h: float | None
    uptime_30d: float | None
    uptime_90d: float | None
    p50_ms: int | None
    p95_ms: int | None
    error_share_24h: float | None
    error_share_30d: float | None
    days: list[StatusDay]


class ApiStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The share of responses that were not server errors, over all models."""

    success_90d: float | None
    days: list[StatusDay]


class StatusUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an incident."""

    posted_at: datetime
    words: str


class StatusIncident(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a live model had no ready worker; `ended_at` is null while it lasts."""

    id: str
    model: str
    title: str
    started_at: datetime
    ended_at: datetime | None
    updates: list[StatusUpdate]


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The service now and over 90 days. `incidents` is null while they can't be read."""

    status: Level
    as_of: datetime | None
    """When the figures were read."""
    api: ApiStatus
    models: list[ModelStatus]
    incidents: list[StatusIncident] | None


@get("/status.json", sync_to_thread=False)
def read_status(service_state: NamedDependency[ServiceState]) -> Response[bytes]:
    """Tell programs, those in browsers of other sites too."""
    return Response(
        msgspec.json.encode(answer_of(service_state)),
        media_type="application/json",
        headers=_ANYWHERE,
    )


@get("/status.rss", sync_to_thread=False)
def read_feed(
    service_state: NamedDependency[ServiceState], settings: NamedDependency[Settings]
) -> Response[str]:
    """List the incidents, each with its newest words."""
    past = service_state.past
    page = f"{settings.public_url}/status"
    items = "".join(_item(incident, page) for incident in (past.incidents if past else ()))
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<rss version="2.0"><channel>'
        f"<title>{xml_text(settings.brand)}: incidents</title><link>{xml_text(page)}</link>"
        f"<description>Incidents of {xml_text(settings.brand)}.</description>"
        f"{items}</channel></rss>",
        media_type="application/rss+xml",
        headers=_ANYWHERE,
        status_code=200 if past else 503,
    )


@get("/status/badge.svg", sync_to_thread=False)
def read_badge(
    service_state: NamedDependency[ServiceState], settings: NamedDependency[Settings]
) -> Response[str]:
    """Draw the state in a word."""
    level = service_state.level
    left, right = (round(len(text) * _CHARACTER_WIDTH) + 12 for text in (settings.brand, level))
    text = '<text y="14" fill="#fff" text-anchor="middle" x="{}">{}</text>'
    return Response(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{xml_text(settings.brand)}: {level}">'
        f'<rect width="{left + right}" height="20" rx="3" fill="#3b3e45"/>'
        f'<rect x="{left}" width="{right}" height="20" rx="3" fill="{_COLORS[level]}"/>'
        f'<rect x="{left}" width="4" height="20" fill="{_COLORS[level]}"/>'
        '<g font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f"{text.format(left / 2, xml_text(settings.brand))}{text.format(left + right / 2, level)}"
        "</g></svg>",
        media_type="image/svg+xml",
        headers=_ANYWHERE,
    )


def answer_of(state: ServiceState) -> StatusAnswer:
    """Describe the state in the schema that /openapi.json documents."""
    return StatusAnswer(
        status=state.level,
        as_of=state.api.as_of,
        api=ApiStatus(success_90d=state.api.share, days=_days(state.api.days)),
        models=[_model(model) for model in state.models],
        incidents=state.past and [_incident(one) for one in state.past.incidents],
    )


def _model(state: ModelState) -> ModelStatus:
    measured = state.measured
    return ModelStatus(
        model=state.listing.model.id,
        status="operational" if state.is_up else "down",
        live_since=measured.live_since,
        uptime_24h=measured.uptime_24h,
        uptime_30d=measured.uptime_30d,
        uptime_90d=measured.uptime_90d,
        p50_ms=measured.p50_ms,
        p95_ms=measured.p95_ms,
        error_share_24h=measured.error_share_24h,
        error_share_30d=measured.error_share_30d,
        days=_days(measured.days),
    )


def _days(days: tuple[DayBar, ...]) -> list[StatusDay]:
    return [StatusDay(day=bar.day, uptime=bar.uptime) for bar in days]


def _incident(incident: Incident) -> StatusIncident:
    return StatusIncident(
        id=incident.id,
        model=incident.model_id,
        title=incident.title,
        started_at=incident.started_at,
        ended_at=incident.ended_at,
        updates=[
            StatusUpdate(posted_at=one.posted_at, words=one.words) for one in incident.updates
        ],
    )


def _item(incident: Incident, page: str) -> str:
    state = f"Resolved after {incident.lasted(wall.now())}." if incident.ended_at else "Going on."
    words = " ".join([state, *(update.words for update in incident.updates[:1])])
    told_at = max([incident.started_at, *(update.posted_at for update in incident.updates)])
    return (
        f"<item><title>{xml_text(incident.title)}</title>"
        f"<link>{xml_text(page)}#{incident.id}</link>"
        f'<guid isPermaLink="false">{incident.id}</guid>'
        f"<pubDate>{format_datetime(max(told_at, incident.ended_at or told_at))}</pubDate>"
        f"<description>{xml_text(words)}</description></item>"
    )


_EXAMPLE = StatusAnswer(
    status="operational",
    as_of=datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
    api=ApiStatus(success_90d=0.9998, days=[StatusDay(day=date(2026, 11, 30), uptime=1.0)]),
    models=[
        ModelStatus(
            model="sentence-transformers/all-MiniLM-L6-v2",
            status="operational",
            live_since=datetime(2026, 9, 1, tzinfo=UTC),
            uptime_24h=1.0,
            uptime_30d=0.9995,
            uptime_90d=0.9998,
            p50_ms=30,
            p95_ms=100,
            error_share_24h=0.0,
            error_share_30d=0.0002,
            days=[StatusDay(day=date(2026, 11, 30), uptime=1.0)],
        )
    ],
    incidents=[],
)
OPERATION = Operation(
    path="/status.json",
    method="get",
    operation_id="getStatus",
    summary="The service now and over 90 days, for programs and other sites",
    answer=_EXAMPLE,
    errors=(TooManyRequests,),
    key="none",
)
