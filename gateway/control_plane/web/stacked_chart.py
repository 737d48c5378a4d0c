"""Charts of stacked bars as SVG, drawn on the server, with the numbers of every bar beside them.

A series has one of four hues, or the gray of all others; site.css has hues that everyone can tell
apart, in both schemes. A bar whose time is not over is drawn as unfinished. What is repeated for
each bar is written here: a chart has hundreds, and a template takes several times as long for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec
from markupsafe import Markup, escape

from gateway.control_plane.web.charts import ceiling, labeled
from gateway.money import money

SERIES_MAX = 4
"""Series with a hue of their own; the rest share one more."""
_REST = SERIES_MAX + 1
_WIDTH, _HEIGHT = 720.0, 180.0
_GAP_SHARE = 0.2


class StackedChart(msgspec.Struct, frozen=True, kw_only=True):
    """Columns over a base line, and the labels of both axes."""

    width: float
    height: float
    step: float
    """How wide a slot is."""
    columns: list[Column]
    """One for each slot, even where nothing is drawn."""
    shapes: list[ChartShape]
    series: list[Drawn]
    marks: list[str]
    """Labels up the side: the whole height, half of it, zero."""
    labels: list[list[str]]
    """Labels along the base: for each of its equal parts, those at its start and at its end."""
    nested: bool
    """Whether each series holds the one before it, so that none of them add up."""
    reach: Markup
    """For each bar, what is pointed at: its slot from top to bottom, whose title is its number."""
    rows: Markup
    """The rows of the table below: the numbers of each bar, the last first."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(column.parts for column in self.columns)


class BarTime(msgspec.Struct, frozen=True, kw_only=True):
    """A time on the base line: its label on the axis, and its title in full."""

    label: str
    title: str
    goes_on: bool = False


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A name, and a value for each slot; one with `is_rest` stands for all others."""

    name: str
    values: Sequence[int]
    is_rest: bool = False


class Drawn(msgspec.Struct, frozen=True):
    """A series in the legend."""

    name: str
    hue: int
    total: str


class BarPart(msgspec.Struct, frozen=True):
    """One series' part of a column."""

    hue: int
    y: float
    height: float


class ChartShape(msgspec.Struct, frozen=True):
    """The parts of one hue in all columns, drawn as one: an element for each would be hundreds."""

    hue: int
    goes_on: bool
    path: str
    """The `d` of an SVG path."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One bar, and its numbers in words, escaped."""

    title: str
    goes_on: bool
    x: float
    left: float
    width: float
    parts: list[BarPart]
    values: list[str]
    """The values of all series, as written."""
    total: str


def stacked(
    slots: Sequence[BarTime],
    series: Sequence[Series],
    written: Callable[[int], str] = money,
    *,
    mark: Callable[[int], str] | None = None,
    told: Callable[[int], str] | None = None,
    nested: Sequence[str] = (),
    least: int = 0,
) -> StackedChart:
    """Draw series on top of one another; the scale ends at a round number above them and `least`.

    `written` formats numbers, `mark` those of the scale, and `told` the sums in the legend. Where
    each series includes the one before it, like percentiles, `nested` has the legend's text for
    each, because their sums mean nothing.
    """
    values_of = list(zip(*(one.values for one in series), strict=True))
    sums = [values[-1] if nested else sum(values) for values in values_of]
    top = ceiling(max([*sums, least]))
    step = _WIDTH / max(len(slots), 1)
    hues = [_REST if one.is_rest else place for place, one in enumerate(series, 1)]
    words = zip(
        _escaped([slot.title for slot in slots]),
        zip(*(_escaped([written(value) for value in one.values]) for one in series), strict=True),
        _escaped([written(value) for value in sums]),
        strict=True,
    )
    columns = [
        Column(
            title=title,
            goes_on=slot.goes_on,
            left=round(at * step, 2),
            x=round((at + _GAP_SHARE / 2) * step, 2),
            width=round(step * (1 - _GAP_SHARE), 2),
            parts=_parts(_heights(values) if nested else values, hues, top),
            values=list(parts),
            total=total,
        )
        for at, (slot, values, (title, parts, total)) in enumerate(
            zip(slots, values_of, words, strict=True)
        )
    ]
    totals = nested or [(told or written)(sum(one.values)) for one in series]
    mark = mark or written
    return StackedChart(
        width=_WIDTH,
        height=_HEIGHT,
        step=round(step, 2),
        columns=columns,
        shapes=_shapes(columns),
        series=[Drawn(*one) for one in zip((s.name for s in series), hues, totals, strict=True)],
        marks=[mark(top), mark(top // 2), mark(0)],
        labels=labeled([slot.label for slot in slots]),
        nested=bool(nested),
        reach=_reach(columns, step),
        rows=_rows(columns, parts=len(series) > 1, totals=not nested),
    )


def _escaped(words: Sequence[str]) -> list[str]:
    """Escape words at once: one by one, they take as long as all the rest of a chart."""
    return str(escape("\0".join(words))).split("\0") if words else []  # HTML has no such character


def _reach(columns: Sequence[Column], step: float) -> Markup:
    size = f'width="{round(step, 2)}" height="{_HEIGHT}"'
    drawn = [
        f'<rect class="reach" x="{one.left}" y="0" {size}><title>{one.title}: {one.total}'
        f"{' so far' if one.goes_on else ''}</title></rect>"
        for one in columns
        if one.parts
    ]
    return Markup("\n".join(drawn))  # noqa: S704 - the words of a column are escaped


def _rows(columns: Sequence[Column], *, parts: bool, totals: bool) -> Markup:
    """Write a cell for each of a column's `parts`, and one for its total, where they are shown."""
    rows = []
    for slot, one in reversed(list(enumerate(columns))):
        if one.parts:
            numbers = [*(one.values if parts else ()), *((one.total,) if totals else ())]
            cells = "".join([f'<td class="number">{number}</td>' for number in numbers])
            title = f"{one.title}{' (so far)' if one.goes_on else ''}"
            rows.append(f'<tr data-slot="{slot}"><th scope="row">{title}</th>{cells}</tr>')
    return Markup("\n".join(rows))  # noqa: S704 - the words of a column are escaped


def _shapes(columns: Sequence[Column]) -> list[ChartShape]:
    paths = defaultdict[tuple[int, bool], list[str]](list)
    for column in columns:
        x, across = f"{column.x:g}", f"{column.width:g}"
        for part in column.parts:
            paths[part.hue, column.goes_on].append(
                f"M{x} {part.y:g}h{across}v{part.height:g}h-{across}z"
            )
    return [ChartShape(*which, "".join(drawn)) for which, drawn in sorted(paths.items())]


def _heights(values: Sequence[int]) -> list[int]:
    """Return what each value adds to the one before it."""
    return [value - before for before, value in zip((0, *values), values, strict=False)]


def _parts(values: Sequence[int], hues: Sequence[int], top: int) -> list[BarPart]:
    """Stack values from the base line up."""
    parts, y = [], _HEIGHT
    for value, hue in zip(values, hues, strict=True):
        if value:
            # a value above zero must be visible, however small it is next to the highest
            height = min(max(round(value * _HEIGHT / top, 2), 2.0), y)
            y = round(y - height, 2)
            parts.append(BarPart(hue, y, height))
    return parts
