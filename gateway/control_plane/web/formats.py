"""How numbers, money and times are written on pages: one form of each.

Times are UTC, in a `<time>` whose title has the second. Money is rounded where it is only read
(`dollars`), with the exact amount in its title, and exact where it is checked (`money`, `fixed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from typing import Any

from markupsafe import Markup

from gateway.data_plane.tallies import BOUNDS_MS, LATENCY_MS_MAX
from gateway.dates import day_text, moment_text
from gateway.money import MINUS, NANOS_PER_CENT, decimal, money
from gateway.pricing import cost_nanos

DAYS_FORESEEN_MAX = 365


_TENTH_OF_A_MILLI = 100_000
"""The smallest amount that `dollars` writes, in nanos: $0.0001."""


def dollars(nanos: int) -> Markup:
    """Write nano-dollars as people read them: $0.25, $0.0010, < $0.0001; exact in the title."""
    size = abs(nanos)
    if 0 < size < _TENTH_OF_A_MILLI:
        written = f"< {MINUS if nanos < 0 else ''}$0.0001"
    else:
        written = fixed(nanos, 2 if size == 0 or size >= NANOS_PER_CENT else 4)
    data = Markup('<data value="{}" title="{}">{}</data>')
    return data.format(decimal(nanos), money(nanos), written)


def fixed(nanos: int, places: int) -> str:
    """Write nano-dollars with as many decimals as its column has, rounded half up."""
    unit = 10 ** (9 - places)
    whole, fraction = divmod((abs(nanos) + unit // 2) // unit, 10**places)
    return f"{MINUS if nanos < 0 else ''}${whole:,}.{fraction:0{places}d}"


def places(amounts: Iterable[int]) -> int:
    """Return the decimals that a column needs to show all its amounts exactly, at least two."""
    return max((len(money(nanos).partition(".")[2]) for nanos in amounts), default=2)


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


def day(value: date) -> Markup:
    """Write a date: 5 Jul 2025."""
    return _time(value, day_text(value))


def moment(value: datetime) -> Markup:
    """Write a time: 5 Jul 2025, 14:03 UTC."""
    return _time(value, moment_text(value))


def clock(value: datetime) -> Markup:
    """Write the time of a day that is known: 14:03 UTC."""
    return _time(value, f"{value:%H:%M} UTC")


def ago(value: datetime, now: datetime) -> Markup:
    """Write how long ago something was: 12 min ago, or `now`."""
    lasted = span(now - value)
    return _time(value, lasted if lasted == "now" else f"{lasted} ago")


def uptime(share: float | None) -> str:
    """Write an uptime, rounded down, so that only what was never down is 100%."""
    if share is None:
        return "–"  # noqa: RUF001 a dash is meant
    return f"{math.floor(share * 10_000 + 1e-9) / 100:g}%"


def errors(share: float | None) -> str:
    """Write a share of failures, so that only what never failed is 0%."""
    if share is None:
        return "–"  # noqa: RUF001 a dash is meant
    return "< 0.01%" if 0 < share < 0.000_1 else f"{round(share * 100, 2):g}%"


def month(value: date) -> str:
    """Write a month: Jul 2024."""
    return f"{value:%b %Y}"


def _time(value: date, written: str) -> Markup:
    if not isinstance(value, datetime):
        return Markup(f'<time datetime="{value.isoformat()}">{written}</time>')  # noqa: S704 - ours
    stamp, exact = f"{value:%Y-%m-%dT%H:%M:%SZ}", f"{day_text(value)}, {value:%H:%M:%S} UTC"
    return Markup(f'<time datetime="{stamp}" title="{exact}">{written}</time>')  # noqa: S704 - ours


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
    """Write how long credit lasts: 3 days, or over a year, beyond which we don't predict."""
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
        dollars,
        fixed,
        places,
        cents,
        cost_nanos,
        number,
        compact,
        day,
        day_text,
        moment,
        moment_text,
        clock,
        ago,
        month,
        uptime,
        errors,
        latency,
        span,
        plural,
    )
}
