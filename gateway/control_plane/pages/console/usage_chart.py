"""The chart of usage: one metric, split by model or key, beside the span before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple

import msgspec
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import usage_series
from gateway.control_plane.billing.usage import By, Filter, Sum
from gateway.control_plane.billing.usage_series import Split
from gateway.control_plane.status import error_series
from gateway.control_plane.status.error_series import ErrorFilter
from gateway.control_plane.web.formats import compact, dollars, number
from gateway.control_plane.web.stacked_chart import (
    SERIES_MAX,
    BarTime,
    Series,
    StackedChart,
    stacked,
)
from gateway.dates import day_text, moment_text, short_day_text
from gateway.money import money

Metric = Literal["cost", "tokens", "requests", "errors", "latency"]
HOURLY_DAYS = 2
"""Spans up to so many days are drawn by the hour."""
_HOUR = timedelta(hours=1)
_SCALE_NANOS_MIN = 200_000
"""The scale of cost ends at $0.0002 or above: below that, nobody reads amounts off a scale."""


class Picked(msgspec.Struct, frozen=True, kw_only=True):
    """What the chart is to show."""

    now: datetime
    days: int = 30
    metric: Metric = "cost"
    split: Split = "none"
    key_id: str = ""
    model_id: str = ""

    @property
    def since(self) -> date:
        """The first day."""
        return self.now.date() - timedelta(days=self.days - 1)

    @property
    def hourly(self) -> bool:
        """Whether a bar is an hour."""
        return self.days <= HOURLY_DAYS

    @property
    def filter(self) -> Filter:
        """What of the usage counts."""
        return Filter(since=self.since, key_id=self.key_id or None, model_id=self.model_id or None)

    def slots(self) -> dict[datetime | date, BarTime]:
        """Return the bars in order: the last hours of a day that goes on are still empty."""
        if not self.hourly:
            days = [self.since + timedelta(days=n) for n in range(self.days)]
            today = self.now.date()
            return {
                day: BarTime(label=short_day_text(day), title=day_text(day), goes_on=day == today)
                for day in days
            }
        first = datetime.combine(self.since, time(), UTC)
        hours = [first + n * _HOUR for n in range(24 * self.days)]
        this = self.now.replace(minute=0, second=0, microsecond=0)
        return {
            hour: BarTime(
                label=f"{hour:%H:%M}" if self.days == 1 else f"{short_day_text(hour)} {hour:%H:%M}",
                title=moment_text(hour),
                goes_on=hour == this,
            )
            for hour in hours
        }


class Panel(NamedTuple):
    """The chart of one key or model."""

    name: str
    change: str
    chart: StackedChart


class UsageChart(NamedTuple):
    """The chart, and what its heading says."""

    heading: str
    total: str
    change: str
    """Beside the span before."""
    chart: StackedChart
    panels: Sequence[Panel] = ()
    """Charts of single keys or models, whose values don't add up, on the same scale."""
    percentiles: Mapping[By, Mapping[str, Sequence[str]]] = {}
    """p50 and p95 of each key and model, for the tables."""


async def charted(
    connection: AsyncConnection,
    organization_id: str,
    picked: Picked,
    sums: Mapping[By, list[Sum]],
    names: Mapping[str, str],
) -> UsageChart:
    """Read and draw it: all but latency, which has a module of its own.

    `sums` are those of the span, `names` those of keys.
    """
    if picked.metric == "errors":
        return await _errors(connection, organization_id, picked, names)
    field = {"cost": "cost_nanos", "tokens": "tokens", "requests": "requests"}[picked.metric]
    groups: list[str] = []
    if picked.split != "none":
        largest = sorted(sums[picked.split], key=lambda one: getattr(one, field), reverse=True)
        groups = [one.group for one in largest[:SERIES_MAX]]
    slots = picked.slots()
    if picked.split == "none" and not picked.hourly:
        values = [(date.fromisoformat(one.group), "", getattr(one, field)) for one in sums["day"]]
    else:
        cells = await usage_series.cells(
            connection, organization_id, picked.filter, by=picked.split, groups=groups,
            hourly=picked.hourly,
        )  # fmt: skip
        values = [(cell.at, cell.group, getattr(cell, field)) for cell in cells]
    prior = await usage_series.before(connection, organization_id, picked.filter, picked.now)
    total = sum(value for _, _, value in values)
    written = money if picked.metric == "cost" else number
    chart = stacked(
        list(slots.values()),
        _series(slots, values, groups, names, _HEADINGS[picked.metric]),
        written,
        mark=money if picked.metric == "cost" else compact,
        told=dollars if picked.metric == "cost" else compact,
        least=_SCALE_NANOS_MIN if picked.metric == "cost" else 0,
    )
    told = dollars if picked.metric == "cost" else compact
    return UsageChart(
        _HEADINGS[picked.metric],
        told(total),
        _change(picked, total, getattr(prior, field), told),
        chart,
    )


def spending(picked: Picked, costs: Sequence[int], before_nanos: int) -> UsageChart:
    """Draw what each day cost, beside what the span before did."""
    series = [Series(name="Cost", values=costs)]
    chart = stacked(list(picked.slots().values()), series, least=_SCALE_NANOS_MIN)
    change = _change(picked, sum(costs), before_nanos, dollars)
    return UsageChart("Cost", dollars(sum(costs)), change, chart)


async def _errors(
    connection: AsyncConnection, organization_id: str, picked: Picked, names: Mapping[str, str]
) -> UsageChart:
    chosen = ErrorFilter(
        since=picked.since,
        until=picked.now,
        key_id=picked.key_id or None,
        model_id=picked.model_id or None,
    )
    groups = []
    if picked.split != "none":
        groups = await error_series.most_errors(
            connection, organization_id, chosen, by=picked.split, limit=SERIES_MAX
        )
    values = await error_series.errors(
        connection, organization_id, chosen, by=picked.split, groups=groups, hourly=picked.hourly
    )
    length = timedelta(days=picked.days)
    earlier = msgspec.structs.replace(
        chosen, since=picked.since - length, until=picked.now - length
    )
    prior = await error_series.error_count(connection, organization_id, earlier)
    slots = picked.slots()
    total = sum(value for _, _, value in values)
    if "" in groups and picked.split == "model":
        names = {**names, "": "No model"}
    series = _series(slots, values, groups, names, "Errors")
    chart = stacked(list(slots.values()), series, number, mark=compact, told=compact)
    return UsageChart("Errors", compact(total), _change(picked, total, prior, compact), chart)


def _series(
    slots: Mapping[datetime | date, BarTime],
    values: Sequence[tuple[datetime | date, str, int]],
    groups: Sequence[str],
    names: Mapping[str, str],
    whole: str,
) -> list[Series]:
    """Return a series for each group and one for the rest; without groups, the whole."""
    found: Counter[tuple[str, datetime | date]] = Counter()
    for at, group, value in values:
        found[group, at] += value
    order = list(groups)
    if any(group not in groups for _, group, _ in values) or not groups:
        order.append("")
    return [
        Series(
            name=names.get(group, group) or ("All others" if groups else whole),
            values=[found[group, slot] for slot in slots],
            is_rest=bool(groups) and group not in groups,
        )
        for group in order
    ]


def _change(picked: Picked, now: int, then: int, told: Callable[[int], str]) -> str:
    """Say how much more or less it is than in the span before; an amount has its element."""
    if not then:
        return f"nothing in {before_words(picked)}" if now else ""
    percent = (now - then) * 100 // then
    words = f"{abs(percent)}% {'more' if percent > 0 else 'less'} than" if percent else "as in"
    return Markup("{} {} ({})").format(words, before_words(picked), told(then))


def before_words(picked: Picked) -> str:
    """Name the span before."""
    return "yesterday up to this hour" if picked.days == 1 else f"the {picked.days} days before"


_HEADINGS: Mapping[Metric, str] = {"cost": "Cost", "tokens": "Tokens", "requests": "Requests"}
