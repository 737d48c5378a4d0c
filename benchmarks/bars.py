"""Figures as an SVG: horizontal bars on a logarithmic scale, in panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _RIGHT, _BAR, _GAP = 760, 110, 16, 6
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#444}.title{font-weight:600;fill:#111}"
    ".head{font-size:15px;font-weight:600;fill:#111}.other{fill:#b9c0c9}.ours{fill:#2f6fed}"
)


class Bar(NamedTuple):
    """One figure; the label is what stands beside it."""

    name: str
    value: float
    label: str
    is_ours: bool


class Panel(NamedTuple):
    """Figures that are compared."""

    title: str
    bars: Sequence[Bar]


def draw(
    head: str, panels: Sequence[Panel], *, left: int = 130, scale: tuple[float, float] | None = None
) -> str:
    """Draw panels, the longest bar of each first. Shorter is better.

    `left` is the room for names, `scale` the values at both ends; None: what the bars need.
    """
    low, high = scale or _scale([bar.value for panel in panels for bar in panel.bars])
    y, parts = 52, []
    for panel in panels:
        parts.append(f'<text x="16" y="{y}" class="title">{escape(panel.title)}</text>')
        y += 12
        for bar in sorted(panel.bars, key=lambda bar: -bar.value):
            share = math.log(max(bar.value, low) / low) / math.log(high / low)
            width = max(2.0, (_WIDTH - left - _RIGHT) * share)
            parts.append(_bar(bar, left, width, y))
            y += _BAR + _GAP
        y += 26
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img">'
        f"<title>{head}</title><style>{_STYLE}</style>"
        f'<rect width="{_WIDTH}" height="{y}" fill="#fff"/>'
        f'<text x="16" y="24" class="head">{head}</text>{"".join(parts)}</svg>\n'
    )


def _scale(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=1.0), max(values, default=10.0)
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) + 1e-9)


def _bar(bar: Bar, left: int, width: float, y: int) -> str:
    kind = "ours" if bar.is_ours else "other"
    return (
        f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2" class="{kind}"/>'
        f'<text x="{left + width + 6:.1f}" y="{y + 12}">{escape(bar.label)}</text>'
    )
