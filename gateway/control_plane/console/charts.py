"""Charts, drawn on the server: the numbers become the geometry of an SVG."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_WIDTH, _HEIGHT, _FOOT, _GAP = 720.0, 180.0, 20.0, 2.0
_LABELS_MAX = 6


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar: where it stands, how high it is, and what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    title: str
    label: str
    """Under it; empty where there would be too many."""


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Bars over a base line."""

    width: float
    height: float
    base: float
    bars: list[Bar]


def bars(values: Sequence[tuple[str, int, str]]) -> Chart:
    """Draw (label, value, title) side by side; the highest fills the height."""
    highest = max((value for _, value, _ in values), default=0) or 1
    step = _WIDTH / max(len(values), 1)
    every = -(-len(values) // _LABELS_MAX) or 1
    base = _HEIGHT - _FOOT
    drawn = []
    for index, (label, value, title) in enumerate(values):
        height = round(value * (base - 8) / highest, 2)
        # what is there must be seen, however small beside the highest
        height = max(height, 2.0) if value else 0.0
        drawn.append(
            Bar(
                x=round(index * step, 2),
                y=round(base - height, 2),
                width=round(max(step - _GAP, 1.0), 2),
                height=height,
                title=title,
                label=label if index % every == 0 else "",
            )
        )
    return Chart(width=_WIDTH, height=_HEIGHT, base=base, bars=drawn)
