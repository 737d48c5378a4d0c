"""The numbers of the first page: six tiles beside the same weekday, 72 hours, and what is wanted.

All of it is read from sums that jobs keep, in six statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import audit_runs
from gateway.control_plane.billing.audit_runs import BooksAudit
from gateway.control_plane.demand import standings
from gateway.control_plane.demand.standings import ModelStanding
from gateway.control_plane.pages.admin.tiles import Tile, change, sparkline
from gateway.control_plane.status import pulse, traffic
from gateway.control_plane.status.traffic import TrafficHour
from gateway.control_plane.web import charts
from gateway.control_plane.web.charts import Bar, Chart
from gateway.control_plane.web.formats import compact, latency, number
from gateway.dates import day_text, short_day_text
from gateway.money import NANOS_PER_CENT, money

HOURS = 72
"""Hours of the chart."""
WANTED_MAX = 5

_WEEK = timedelta(days=7)
_SERVER = 5
_FAILED = (4, 5)

Answers = Mapping[datetime, Mapping[int, int]]


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows below its needs."""

    tiles: list[Tile]
    requests: Chart
    failed: list[Bar]
    """The part of each bar that was refused or failed."""
    wanted: list[ModelStanding]


async def read(connection: AsyncConnection, now: datetime) -> Pulse:
    """Read the numbers of now."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today, before = (midnight, now), (midnight - _WEEK, now - _WEEK)
    used = await traffic.hours(connection, before[0])
    answers = await pulse.answers_by_hour(connection, before[0])
    p95 = await pulse.p95_ms(connection, today, before)
    made = await pulse.new_organizations(connection, today, before)
    runs = await audit_runs.recent(connection, limit=1)
    wanted = await standings.listed(connection)
    chart, failed = _drawn(answers, now)
    return Pulse(
        tiles=[
            *_used(used, today, before, now),
            _errors(answers, today, now),
            _p95(p95),
            _credit(runs),
            _made(made),
        ],
        requests=chart,
        failed=failed,
        wanted=wanted[:WANTED_MAX],
    )


def _used(
    used: Sequence[TrafficHour],
    today: tuple[datetime, datetime],
    before: tuple[datetime, datetime],
    now: datetime,
) -> list[Tile]:
    def within(between: tuple[datetime, datetime], name: str) -> int:
        return sum(getattr(h, name) for h in used if between[0] <= h.hour <= between[1])

    def line(name: str) -> str:
        known = {hour.hour: getattr(hour, name) for hour in used}
        return sparkline([known.get(at, 0) for at in _hours(now, 24)])

    tiles = []
    for name, field, written in (
        ("Revenue today", "charged_nanos", _rounded),
        ("Tokens today", "tokens", compact),
    ):
        value = within(today, field)
        told, tone = change(value, within(before, field), more="good")
        tiles.append(
            Tile(
                name=name,
                value=written(value),
                note=f"{told} on last {now:%a}" if told else "",
                tone=tone,
                line=line(field),
                href="/admin/traffic",
            )
        )
    return tiles


def _errors(answers: Answers, today: tuple[datetime, datetime], now: datetime) -> Tile:
    in_time = [classes for hour, classes in answers.items() if today[0] <= hour <= today[1]]
    failed = sum(classes.get(_SERVER, 0) for classes in in_time)
    whole = sum(sum(classes.values()) for classes in in_time)
    hours = [answers.get(at, {}).get(_SERVER, 0) for at in _hours(now, 24)]
    hundredths = failed * 10_000 // whole if whole else 0
    return Tile(
        name="Errors today, 5xx",
        value=f"{hundredths // 100}.{hundredths % 100:02d}%" if whole else "none",
        note=f"{number(failed)} of {compact(whole)} responses",
        tone="bad" if hundredths >= 100 else "",
        line=sparkline(hours),
        href="/admin/traffic",
    )


def _p95(p95: tuple[int | None, int | None]) -> Tile:
    now, before = p95
    note, tone = change(now, before or 0, more="bad") if now else ("", "")
    return Tile(name="p95 today", value=latency(now), note=note, tone=tone, href="/admin/traffic")


def _credit(runs: Sequence[BooksAudit]) -> Tile:
    if not runs:
        return Tile(name="Credit outstanding", value="not audited", href="/admin/books")
    books = runs[0].balances
    return Tile(
        name="Credit outstanding",
        value=_rounded(books.paid_nanos + books.promo_nanos),
        note=f"free {_rounded(books.promo_nanos)}, bought {_rounded(books.paid_nanos)}",
        href="/admin/books",
    )


def _made(made: tuple[int, int]) -> Tile:
    note, tone = change(*made, more="good")
    return Tile(
        name="New organizations today",
        value=number(made[0]),
        note=note,
        tone=tone,
        href="/admin/organizations",
    )


def _drawn(answers: Answers, now: datetime) -> tuple[Chart, list[Bar]]:
    """Draw answers by hour, and over the foot of each bar its part that failed."""
    hours = _hours(now, HOURS)
    by_hour = [answers.get(at, {}) for at in hours]
    sums = [(sum(classes.values()), _failures(classes)) for classes in by_hour]
    chart = charts.bars(
        [
            (
                short_day_text(at),
                whole,
                f"{day_text(at)}, {at:%H:00}: {number(whole)} responses, {number(bad)} failed",
            )
            for at, (whole, bad) in zip(hours, sums, strict=True)
        ],
        written=compact,
    )
    top = charts.ceiling(max((whole for whole, _ in sums), default=0))
    whole_bars = iter(chart.bars)
    failed = []
    for whole, bad in sums:
        if not whole:
            continue
        bar = next(whole_bars)
        if bad:
            height = max(round(bad * chart.height / top, 2), 2.0)
            failed.append(
                msgspec.structs.replace(bar, y=round(chart.height - height, 2), height=height)
            )
    return chart, failed


def _failures(classes: Mapping[int, int]) -> int:
    return sum(classes.get(one, 0) for one in _FAILED)


def _hours(now: datetime, count: int) -> list[datetime]:
    """Return the last hours, the oldest first, this one included."""
    newest = now.replace(minute=0, second=0, microsecond=0)
    return [newest - timedelta(hours=back) for back in reversed(range(count))]


def _rounded(nanos: int) -> str:
    """Write dollars to the cent: exact ones are where the tile leads."""
    return money(nanos // NANOS_PER_CENT * NANOS_PER_CENT)
