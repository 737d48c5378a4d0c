"""How numbers, money and times are written on pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from gateway.data_plane.tallies import BOUNDS_MS, LATENCY_MS_MAX
from gateway.money import NANOS_PER_CENT, money
from gateway.pricing import cost_nanos

DAYS_FORESEEN_MAX = 365


def cents(value: int) -> str:
    """Write cents as dollars: 1250 is $12.50."""
    return money(value * NANOS_PER_CENT)


def number(value: int) -> str:
    """Write 1234567 as 1,234,567."""
    return f"{value:,}"


def compact(value: int) -> str:
    """Write 69_400 as 69.4K, with at most one decimal, rounded down."""
    for bound, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if value >= bound:
            return f"{value * 10 // bound / 10:g}{letter}"
    return str(value)


def day(value: date | datetime) -> str:
    """Write a date: 5 Jul 2025."""
    return f"{value.day} {value:%b %Y}"


def month(value: date) -> str:
    """Write a month: Jul 2024."""
    return f"{value:%b %Y}"


def moment(value: datetime) -> str:
    """Write a time: 2025-07-05 14:03 UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


def latency(value_ms: int | None) -> str:
    """Write the bound of a latency: 50 ms, 1.5 s, or a dash where nothing was measured."""
    if value_ms is None:
        return "–"  # noqa: RUF001 a dash is meant
    if value_ms >= LATENCY_MS_MAX:
        return f"over {BOUNDS_MS[-2] // 1000} s"
    return f"{value_ms} ms" if value_ms < 1_000 else f"{value_ms / 1_000:g} s"


def span(value: timedelta) -> str:
    """Write how long something lasts, in its largest unit: 12 min, 3 h, 2 d; or `now`."""
    minutes = int(value.total_seconds()) // 60
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def lasting(days: int) -> str:
    """Write for how long credit lasts: 3 days, or over a year, beyond which nothing is foreseen."""
    return "over a year" if days > DAYS_FORESEEN_MAX else plural(days, "day")


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count and its noun: 1 vote, 2 votes."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def contact(support: str) -> str:
    """Return the link of GATEWAY_SUPPORT, which is a page or a mail address."""
    return f"mailto:{support}" if "@" in support and "/" not in support else support


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        money,
        cents,
        cost_nanos,
        number,
        compact,
        day,
        month,
        moment,
        latency,
        span,
        plural,
    )
}
