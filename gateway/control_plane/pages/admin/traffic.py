"""Traffic: requests, tokens, revenue, errors and latency, from sums by the hour and reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from gateway import wall
from gateway.control_plane.pages.admin.lists import as_csv
from gateway.control_plane.pages.admin.tiles import Tile, Tone, change, sparkline
from gateway.control_plane.status import traffic
from gateway.control_plane.status.answers import percentile
from gateway.control_plane.status.traffic import AnswerSum, TrafficHour
from gateway.control_plane.web import charts
from gateway.control_plane.web.formats import compact, latency, number
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.control_plane.workers import fleet_state
from gateway.dates import short_day_text
from gateway.money import money
from gateway.storage.database import Database

PATH = "/admin/traffic"
LIVE_SECONDS = 5
_SPANS = {24: "24 hours", 72: "72 hours", 168: "7 days"}
_BY_DAY_FROM = 168
"""From so many hours on, charts have a bar a day."""
_MODELS = 50
_SUCCESS, _CLIENT, _SERVER = 2, 4, 5
_COLUMNS = ("hour", "requests", "inputs", "tokens", "charged_nanos", "answers_2xx", "answers_4xx",
            "answers_5xx")  # fmt: skip


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """A time's traffic together."""

    requests: int
    tokens: int
    charged_nanos: int
    answers: int
    client_errors: int
    server_errors: int
    p50_ms: int | None
    p95_ms: int | None


@get(PATH)
async def show_traffic(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    hours: FromQuery[int] = 72,
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """Show the traffic of some time beside that of the time before; to htmx, what is live alone."""
    if is_fragment(request):
        async with database.read() as connection:
            pools = await fleet_state.pools(connection)
        return render("admin/traffic_live.html", section="traffic", pools=pools)
    span = hours if hours in _SPANS else 72
    now = wall.now()
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=span - 1)
    before = start - timedelta(hours=span)
    async with database.read() as connection:
        used = await traffic.hours(connection, before)
        answers = await traffic.answered(connection, before)
        if written == "csv":
            return _csv(used, answers, start)
        models = await traffic.models(connection, start, _MODELS)
        leaders = await traffic.leaders(connection, now.date())
        pools = await fleet_state.pools(connection)
    by_day = span >= _BY_DAY_FROM
    return render(
        "admin/traffic.html",
        section="traffic",
        span=span,
        spans=_SPANS,
        tiles=_tiles(used, answers, start),
        pools=pools,
        live_seconds=LIVE_SECONDS,
        requests=_chart(_slots(start, span, by_day=by_day), [
            (hour.hour, hour.requests) for hour in used], by_day, _requests),
        errors=_chart(_slots(start, span, by_day=by_day), [
            (one.hour, one.answers) for one in answers if one.status_class == _SERVER],
            by_day, _errors),
        models=models,
        leaders=leaders,
    )  # fmt: skip


def summed(used: Sequence[TrafficHour], answers: Sequence[AnswerSum]) -> Sums:
    """Add hours up."""
    classes: Counter[int] = Counter()
    good: Counter[int] = Counter()
    for one in answers:
        classes[one.status_class] += one.answers
        if one.status_class == _SUCCESS:
            good[one.latency_ms] += one.answers
    return Sums(
        requests=sum(hour.requests for hour in used),
        tokens=sum(hour.tokens for hour in used),
        charged_nanos=sum(hour.charged_nanos for hour in used),
        answers=classes.total(),
        client_errors=classes[_CLIENT],
        server_errors=classes[_SERVER],
        p50_ms=percentile(good, 50),
        p95_ms=percentile(good, 95),
    )


def _tiles(
    used: Sequence[TrafficHour], answers: Sequence[AnswerSum], start: datetime
) -> list[Tile]:
    recent = [hour for hour in used if hour.hour >= start]
    now = summed(recent, [one for one in answers if one.hour >= start])
    before = summed(
        [hour for hour in used if hour.hour < start],
        [one for one in answers if one.hour < start],
    )

    def tile(
        name: str, value: str, figures: tuple[int, int], more: Tone, line: Sequence[int] = ()
    ) -> Tile:
        changed, tone = change(*figures, more=more)
        note = f"{changed} than before" if changed else ""
        return Tile(name=name, value=value, note=note, tone=tone, line=sparkline(line))

    worst = (now.p95_ms, before.p95_ms or 0) if now.p95_ms else (0, 0)
    errors = now.server_errors, before.server_errors
    return [
        tile("Revenue", money(now.charged_nanos), (now.charged_nanos, before.charged_nanos),
             "good", [hour.charged_nanos for hour in recent]),
        tile("Tokens", compact(now.tokens), (now.tokens, before.tokens), "good",
             [hour.tokens for hour in recent]),
        tile("Requests", compact(now.requests), (now.requests, before.requests), "good",
             [hour.requests for hour in recent]),
        tile("Errors, 5xx", _share(now.server_errors, now.answers), errors, "bad"),
        tile("Errors, 4xx", _share(now.client_errors, now.answers),
             (now.client_errors, before.client_errors), ""),
        tile(f"p95, p50 {latency(now.p50_ms)}", latency(now.p95_ms), worst, "bad"),
    ]  # fmt: skip


def _share(part: int, whole: int) -> str:
    return f"{part * 100 / whole:.2f}%" if whole else latency(None)


def _slots(start: datetime, span: int, *, by_day: bool) -> list[str]:
    times = [start + timedelta(hours=hour) for hour in range(span)]
    return list(dict.fromkeys(_label(at, by_day=by_day) for at in times))


def _label(at: datetime, *, by_day: bool) -> str:
    return short_day_text(at) if by_day else f"{short_day_text(at)} {at:%H}:00"


def _chart(
    slots: Sequence[str],
    figures: Sequence[tuple[datetime, int]],
    by_day: bool,
    told: Callable[[int], str],
) -> charts.Chart:
    sums: Counter[str] = Counter()
    for at, count in figures:
        sums[_label(at, by_day=by_day)] += count
    return charts.bars(
        [(slot, sums[slot], f"{slot}: {told(sums[slot])}") for slot in slots], compact
    )


def _requests(count: int) -> str:
    return f"{number(count)} requests"


def _errors(count: int) -> str:
    return f"{number(count)} 5xx responses"


def _csv(
    used: Sequence[TrafficHour], answers: Sequence[AnswerSum], start: datetime
) -> Response[str]:
    classes: dict[datetime, Counter[int]] = defaultdict(Counter)
    for one in answers:
        classes[one.hour][one.status_class] += one.answers
    lines = (
        [
            hour.hour.isoformat(),
            hour.requests,
            hour.inputs,
            hour.tokens,
            hour.charged_nanos,
            *(classes[hour.hour][status] for status in (_SUCCESS, _CLIENT, _SERVER)),
        ]
        for hour in used
        if hour.hour >= start
    )
    return as_csv("traffic", _COLUMNS, lines)
