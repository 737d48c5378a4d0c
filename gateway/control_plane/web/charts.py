"""Charts as SVG, drawn on the server.

The drawing stretches to the available width, so it holds no text: the labels are beside it and keep
their size on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gateway.money import money

_WIDTH, _HEIGHT = 720.0, 180.0
_GAP_SHARE = 0.2  # the part of its slot that a bar leaves free
_SEGMENTS = 3
_SEGMENTS_MAX = 7
_STEPS = (1, 2, 3, 4, 5, 6, 8)


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar: its place, its height and its title."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Bars over a base line, and the labels of both axes."""

    width: float
    height: float
    bars: list[Bar]
    """Only bars with a height."""
    marks: list[str]
    """Labels up the side: the whole height, half of it, zero."""
    labels: list[list[str]]
    """Labels along the base: for each of its equal parts, those at its start and at its end."""


def bars(values: Sequence[tuple[str, int, str]], written: Callable[[int], str] = money) -> Chart:
    """Draw (label, value, title) side by side; the scale ends at a round number above them all."""
    top = ceiling(max((value for _, value, _ in values), default=0))
    step = _WIDTH / max(len(values), 1)
    drawn = []
    for index, (_, value, title) in enumerate(values):
        if value:
            # a value above zero must be visible, however small it is next to the highest
            height = max(round(value * _HEIGHT / top, 2), 2.0)
            drawn.append(
                Bar(
                    x=round((index + _GAP_SHARE / 2) * step, 2),
                    y=round(_HEIGHT - height, 2),
                    width=round(step * (1 - _GAP_SHARE), 2),
                    height=height,
                    title=title,
                )
            )
    return Chart(
        width=_WIDTH,
        height=_HEIGHT,
        bars=drawn,
        marks=[written(top), written(top // 2), written(0)],
        labels=labeled([label for label, _, _ in values]),
    )


def ceiling(value: int) -> int:
    """Return the lowest round number not below a value: even, and one of _STEPS with zeros."""
    power = 1
    while True:
        for step in _STEPS:
            number = step * power
            if number >= value and number % 2 == 0:
                return number
        power *= 10


def labeled(names: Sequence[str]) -> list[list[str]]:
    """Label every bar if there are few; else where each part begins, and the last bar."""
    if len(names) <= _SEGMENTS_MAX:
        return [[name] for name in names]
    starts = [round(part * len(names) / _SEGMENTS) for part in range(_SEGMENTS)]
    labels = [[names[start]] for start in starts]
    labels[-1].append(names[-1])
    return labels
