"""The figures as an SVG: horizontal bars on a logarithmic scale, one panel a scenario."""

from __future__ import annotations

import math
from html import escape

from benchmarks.sim.scenarios import ROUTER, Table

_PANELS = (
    ("load", "80 % load"),
    ("slow", "one worker 20x slow, 50 % load"),
    ("flood", "one organization dumps 10M tokens"),
)
_WIDTH, _LEFT, _BAR, _GAP = 760, 130, 16, 6
_SCALE_MIN, _SCALE_MAX = 0.1, 1000.0


def draw(table: Table, *, seed: int) -> str:
    """Return an SVG of p99 of one short text by policy; shorter is better."""
    y, parts = 52, []
    for key, title in _PANELS:
        parts.append(f'<text x="16" y="{y}" class="title">{escape(title)}</text>')
        y += 12
        for name, seconds in sorted(table.cells[key].items(), key=lambda item: -item[1]):
            parts.append(_bar(name, seconds, y))
            y += _BAR + _GAP
        y += 26
    style = (
        "text{font:13px system-ui,sans-serif;fill:#444}.title{font-weight:600;fill:#111}"
        ".head{font-size:15px;font-weight:600;fill:#111}.other{fill:#b9c0c9}.ours{fill:#2f6fed}"
    )
    head = f"p99 of one short text (logarithmic; 3 workers of 150k tokens/s, seed {seed})"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img">'
        f"<title>{head}</title><style>{style}</style>"
        f'<rect width="{_WIDTH}" height="{y}" fill="#fff"/>'
        f'<text x="16" y="24" class="head">{head}</text>{"".join(parts)}</svg>\n'
    )


def _bar(name: str, seconds: float, y: int) -> str:
    room = _WIDTH - _LEFT - 110
    share = math.log(max(seconds, _SCALE_MIN) / _SCALE_MIN) / math.log(_SCALE_MAX / _SCALE_MIN)
    width = max(2.0, room * share)
    label = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    kind = "ours" if name == ROUTER else "other"
    return (
        f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2" class="{kind}"/>'
        f'<text x="{_LEFT + width + 6:.1f}" y="{y + 12}">{label}</text>'
    )
