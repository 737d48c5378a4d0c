"""The figures as an SVG: one panel a scenario."""

from __future__ import annotations

from benchmarks import bars
from benchmarks.sim.scenarios import ROUTER, Table

_PANELS = (
    ("load", "80 % load"),
    ("slow", "one worker 20x slow, 50 % load"),
    ("flood", "one organization dumps 10M tokens"),
)
_SCALE = (0.1, 1000.0)


def draw(table: Table, *, seed: int) -> str:
    """Return an SVG of p99 of one short text by policy; shorter is better."""
    panels = [
        bars.Panel(
            title,
            [bars.Bar(n, s, _label(s), is_ours=n == ROUTER) for n, s in table.cells[key].items()],
        )
        for key, title in _PANELS
    ]
    head = f"p99 of one short text (logarithmic; 3 workers of 150k tokens/s, seed {seed})"
    return bars.draw(head, panels, scale=_SCALE)


def _label(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
