"""Days as bars: days of one kind beside one another are drawn as one stroke of dashes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from gateway.control_plane.status.day_bar import DayBar
from gateway.control_plane.web.formats import plural, uptime
from gateway.dates import day_text

STEP = 4
"""From one bar to the next; a bar is one less wide."""
_PART = 0.99
"""A day below that is bad."""

Kind = Literal["up", "part", "down", "few", "none"]


class Stroke(NamedTuple):
    """Days of one kind."""

    kind: Kind
    start: int
    end: int
    title: str


class Bars(NamedTuple):
    """A drawing, and its width."""

    strokes: list[Stroke]
    width: int


def bars(days: Sequence[DayBar]) -> Bars:
    """Draw days, the oldest first."""
    strokes, at = [], 0
    for kind, some in groupby(days, key=_kind):
        group = list(some)
        end = at + len(group) * STEP - 1
        strokes.append(Stroke(kind, at, end, _title(kind, group)))
        at = end + 1
    return Bars(strokes, max(at - 1, 1))


def _kind(bar: DayBar) -> Kind:
    if bar.uptime is None:
        return "none"
    if bar.is_few:
        return "few"
    if bar.uptime == 1:
        return "up"
    return "part" if bar.uptime >= _PART else "down"


def _title(kind: Kind, group: Sequence[DayBar]) -> str:
    first, last = group[0], group[-1]
    days = day_text(first.day)
    if last is not first:
        days = f"{days} to {day_text(last.day)}"
    if kind == "none":
        return f"{days}: not measured"
    if kind == "few":
        responses = sum(bar.responses or 0 for bar in group)
        return f"{days}: {plural(responses, 'response')}, too few to say"
    least = min(bar.uptime for bar in group if bar.uptime is not None)
    return f"{days}: {uptime(least)}{' or more' if len(group) > 1 and kind != 'up' else ''}"
