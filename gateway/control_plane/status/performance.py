"""What the public may know of a model's service: latency, failures, traffic and uptime.

All of it is measured by the gateways themselves. Latency and failures are those of the responses to
requests that named the model, at the gateway, without the client's network. Uptime is the share of
the time since the model's launch in which some gateway had a ready worker for it, from incidents:
a time in which no gateway ran counts as up. What was not measured is None, never 0 or 100%.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.status.answers import percentile
from gateway.control_plane.status.day_bar import DayBar
from gateway.storage.database import Database
from gateway.storage.tables import (
    incidents,
    launches,
    model_answers,
    models,
    total,
    traffic_hours,
)

REFRESH_SECONDS = 60.0
DAYS = 90
"""Days with a bar of their own."""
SAMPLES_MIN = 20
"""Fewer successes than this have no percentile: their slowest would be the p95."""
_HOURS = 24
_MONTH_DAYS = 30
_INCIDENTS_MAX = 10_000
_SUCCESS, _FAILURE = 2, 5


class Downtime(NamedTuple):
    """A time without a ready worker."""

    start: datetime
    end: datetime


class ModelPerformance(msgspec.Struct, frozen=True, kw_only=True):
    """A live model's service as measured; all None for a model that is not live."""

    as_of: datetime | None = None
    """When this was read."""
    live_since: datetime | None = None
    requests_24h: int = 0
    """Responses to requests that named the model, whatever their status."""
    p50_ms: int | None = None
    """Bound that half of the successes of 24 hours did not exceed; None: under `SAMPLES_MIN`."""
    p95_ms: int | None = None
    error_share_24h: float | None = None
    """Responses of 500 or more, of all; None: no responses."""
    error_share_30d: float | None = None
    tokens_per_second: float | None = None
    """Mean over the busiest full hour of 24: what was asked for, not what could be done at most."""
    outages: tuple[Downtime, ...] = ()
    """Those of the days that have bars, apart from one another, the oldest first."""

    @property
    def uptime_24h(self) -> float | None:
        """Share of the last 24 hours, or of the time since launch if that is shorter."""
        return self._uptime(timedelta(hours=_HOURS))

    @property
    def uptime_30d(self) -> float | None:
        """Share of the last 30 days, or of the time since launch if that is shorter."""
        return self._uptime(timedelta(days=_MONTH_DAYS))

    @property
    def uptime_90d(self) -> float | None:
        """Share of the last 90 days, or of the time since launch if that is shorter."""
        return self._uptime(timedelta(days=DAYS))

    @property
    def is_new(self) -> bool:
        """Whether it is live for less than 24 hours, of which a share would say little."""
        return self._is_within(timedelta(hours=_HOURS))

    def since(self, days: int) -> datetime | None:
        """Return since when it is measured, where that is less than so many days."""
        return self.live_since if self._is_within(timedelta(days=days)) else None

    @property
    def days(self) -> tuple[DayBar, ...]:
        """The last days, today last."""
        if self.as_of is None:
            return ()
        today, down = self.as_of.date(), self._down_by_day()
        return tuple(
            self._bar(day, down[day])
            for day in (today - timedelta(days=ago) for ago in reversed(range(DAYS)))
        )

    def _is_within(self, span: timedelta) -> bool:
        return bool(self.as_of and self.live_since and self.live_since > self.as_of - span)

    def _down_by_day(self) -> Counter[date]:
        """Return the seconds of outages by UTC day; those before the launch don't count."""
        down = Counter[date]()
        assert self.as_of, "of a model that is not live"
        earliest = self.as_of - timedelta(days=DAYS)
        if self.live_since:
            earliest = max(earliest, self.live_since)
        for outage in self.outages:
            start, end = max(outage.start, earliest), min(outage.end, self.as_of)
            while start < end:
                tomorrow = _midnight(start.date() + timedelta(days=1))
                down[start.date()] += round((min(end, tomorrow) - start).total_seconds())
                start = tomorrow
        return down

    def _bar(self, day: date, seconds_down: int) -> DayBar:
        if self.as_of is None or self.live_since is None:
            return DayBar(day, None, 0)
        start = max(_midnight(day), self.live_since)
        lasted = (min(_midnight(day + timedelta(days=1)), self.as_of) - start).total_seconds()
        if lasted <= 0:
            return DayBar(day, None, 0)
        return DayBar(day, 1 - min(seconds_down / lasted, 1.0), seconds_down)

    def _uptime(self, span: timedelta) -> float | None:
        """Return the share of the last time that was up."""
        if self.as_of is None or self.live_since is None:
            return None
        start, end = max(self.as_of - span, self.live_since), self.as_of
        lasted = (end - start).total_seconds()
        if lasted <= 0:
            return None
        parts = ((min(o.end, end) - max(o.start, start)).total_seconds() for o in self.outages)
        # an outage outside of the span, or one that a clock was put back in, has no part in it
        down = sum(part for part in parts if part > 0)
        return 1 - down / lasted


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


NOTHING = ModelPerformance()


class Performances:
    """The performance of every live model, in memory; `refresh` is a job."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = wall.now) -> None:
        self._database = database
        self._clock = clock
        self._known: Mapping[str, ModelPerformance] = {}
        self._before: tuple[datetime, _Answers] | None = None
        """The hour in which they were read, and the answers of the days that are over."""

    def of(self, model_id: str) -> ModelPerformance:
        """Return a model's performance as of the last refresh."""
        return self._known.get(model_id, NOTHING)

    async def refresh(self) -> None:
        """Read the sums of the service. What was known stays if that fails."""
        now = self._clock()
        hour = now.replace(minute=0, second=0, microsecond=0)
        day = hour - timedelta(hours=_HOURS - 1)
        yesterday = _midnight(now.date() - timedelta(days=1))
        async with self._database.read() as connection:
            live = await _live(connection)
            outages = await _outages(connection, now)
            latencies = await _latencies(connection, day)
            today = await _answers(connection, day, hour)
            recent = await _answers(connection, yesterday, hour)
            busiest = await _busiest(connection, day, hour)
            if self._before is None or self._before[0] != hour:
                month = yesterday - timedelta(days=_MONTH_DAYS - 2)
                last = yesterday - timedelta(hours=1)
                self._before = hour, await _answers(connection, month, last)
        before = self._before[1]
        self._known = {
            model_id: ModelPerformance(
                as_of=now,
                live_since=since,
                requests_24h=today[model_id].total(),
                p50_ms=_percentile(latencies[model_id], 50),
                p95_ms=_percentile(latencies[model_id], 95),
                error_share_24h=_failed(today[model_id]),
                error_share_30d=_failed(before[model_id] + recent[model_id]),
                tokens_per_second=busiest.get(model_id),
                outages=tuple(apart(outages[model_id])),
            )
            for model_id, since in live.items()
        }


_Answers = Mapping[str, Counter[int]]
"""Responses of each model by the first digit of their status."""


def apart(outages: Iterable[Downtime]) -> Iterator[Downtime]:
    """Join outages that overlap, as those of two gateways with different clocks may."""
    last: Downtime | None = None
    for outage in sorted(outages):
        if last is None or outage.start > last.end:
            if last is not None:
                yield last
            last = outage
        else:
            last = Downtime(last.start, max(last.end, outage.end))
    if last is not None:
        yield last


def _percentile(latencies: Mapping[int, int], percent: int) -> int | None:
    return percentile(latencies, percent) if sum(latencies.values()) >= SAMPLES_MIN else None


def _failed(answers: Counter[int]) -> float | None:
    return answers[_FAILURE] / answers.total() if answers else None


async def _live(connection: AsyncConnection) -> dict[str, datetime]:
    """Return since when each live model is live: since its launch, or it came as a live one."""
    since = func.coalesce(launches.c.launched_at, models.c.created_at)
    found = await connection.execute(
        select(models.c.id, since.label("since"))
        .outerjoin(launches, launches.c.model_id == models.c.id)
        .where(models.c.state == "live")
    )
    return {row.id: row.since for row in found}


async def _outages(connection: AsyncConnection, now: datetime) -> Mapping[str, list[Downtime]]:
    start = now - timedelta(days=DAYS)
    found = await connection.execute(
        select(incidents.c.model_id, incidents.c.started_at, incidents.c.ended_at)
        .where(or_(incidents.c.ended_at.is_(None), incidents.c.ended_at > start))
        .order_by(incidents.c.started_at.desc())
        .limit(_INCIDENTS_MAX)
    )
    outages: dict[str, list[Downtime]] = defaultdict(list)
    for model_id, started_at, ended_at in found:
        outages[model_id].append(Downtime(started_at, ended_at or now))
    return outages


async def _latencies(
    connection: AsyncConnection, start: datetime
) -> Mapping[str, Mapping[int, int]]:
    """Return the successes since then by model and bound of latency."""
    table = model_answers.c
    found = await connection.execute(
        select(table.model_id, table.latency_ms, total(table.answers))
        .where(table.hour >= start, table.status_class == _SUCCESS)
        .group_by(table.model_id, table.latency_ms)
    )
    latencies: dict[str, dict[int, int]] = defaultdict(dict)
    for model_id, bound, answers in found:
        latencies[model_id][bound] = answers
    return latencies


async def _answers(connection: AsyncConnection, first: datetime, last: datetime) -> _Answers:
    """Return the responses of the hours from the first to the last."""
    table = model_answers.c
    found = await connection.execute(
        select(table.model_id, table.status_class, total(table.answers))
        .where(table.hour.between(first, last))
        .group_by(table.model_id, table.status_class)
    )
    answers: dict[str, Counter[int]] = defaultdict(Counter)
    for model_id, status_class, count in found:
        answers[model_id][status_class] = count
    return answers


async def _busiest(
    connection: AsyncConnection, first: datetime, before: datetime
) -> Mapping[str, float]:
    """Return the tokens per second of each model's busiest hour among those that are over."""
    table = traffic_hours.c
    found = await connection.execute(
        select(table.model_id, func.max(table.tokens))
        .where(table.hour >= first, table.hour < before)
        .group_by(table.model_id)
    )
    return {model_id: tokens / 3600 for model_id, tokens in found}
