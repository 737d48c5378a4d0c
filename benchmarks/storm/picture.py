"""The time lines as an SVG, readable in light and dark: one row a scenario, one bar a second."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.storm.outcome import Outcome, Second

_WIDTH, _LEFT, _TOP, _ROW, _BAR = 900, 300, 64, 38, 26
_STYLE = """
svg{--paper:#fff;--ink:#1b1f24;--faint:#57606a;--span:#e4e7eb;
--served:#2f6fed;--refused:#d98200;--cut:#c4265e}
@media (prefers-color-scheme:dark){svg{--paper:#0d1117;--ink:#e6edf3;--faint:#9198a1;--span:#2a313a;
--served:#6ea0ff;--refused:#f0a94a;--cut:#ff6f9c}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.head{font-size:15px;font-weight:600}
.faint{fill:var(--faint)}.paper{fill:var(--paper)}.span{fill:var(--span)}
.served{fill:var(--served)}.refused{fill:var(--refused)}.cut{fill:var(--cut)}
"""
_KINDS = (("served", "served"), ("refused", "refused"), ("cut", "without an answer"))


def draw(outcomes: Sequence[Outcome]) -> str:
    """Return an SVG of attempts by second; what a fault lasted is shaded."""
    seconds = max((len(outcome.line) - outcome.from_second for outcome in outcomes), default=1)
    height = _TOP + _ROW * len(outcomes) + 16
    rows = "".join(
        _row(outcome, _TOP + _ROW * number, (_WIDTH - _LEFT - 20) / seconds)
        for number, outcome in enumerate(outcomes)
    )
    head = "Attempts by second in each scenario; the span of its fault is shaded"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"<title>{head}</title><style>{_STYLE}</style>"
        f'<rect width="{_WIDTH}" height="{height}" class="paper"/>'
        f'<text x="16" y="26" class="head">{head}</text>{_legend()}{rows}</svg>\n'
    )


def _legend() -> str:
    return "".join(
        f'<rect x="{16 + 110 * number}" y="38" width="10" height="10" class="{kind}"/>'
        f'<text x="{31 + 110 * number}" y="47" class="faint">{words}</text>'
        for number, (kind, words) in enumerate(_KINDS)
    )


def _row(outcome: Outcome, top: int, step: float) -> str:
    """Draw one scenario; its bars are as tall as its busiest second."""
    begins, line = outcome.from_second, outcome.line[outcome.from_second :]
    tallest = max(map(_total, line), default=1) or 1
    spans = "".join(
        f'<rect x="{_LEFT + (begin - begins) * step:.1f}" y="{top}" '
        f'width="{max(1, (end - begin) * step):.1f}" height="{_BAR + 4}" class="span"/>'
        for begin, end in outcome.spans
    )
    bars = "".join(
        _bar(second, _LEFT + number * step, top + 2, step, tallest)
        for number, second in enumerate(line)
    )
    name = escape(outcome.title)
    return (
        f'{spans}{bars}<text x="{_LEFT - 10}" y="{top + 13}" text-anchor="end">{name}</text>'
        f'<text x="{_LEFT - 10}" y="{top + 27}" text-anchor="end" class="faint">'
        f"{len(line)} s, at most {tallest} a second</text>"
    )


def _bar(second: Second, x: float, top: int, step: float, tallest: int) -> str:
    drawn, bottom = "", float(top + _BAR)
    for kind, _ in _KINDS:
        count = getattr(second, kind)
        if count:
            tall = max(1.0, _BAR * count / tallest)
            bottom -= tall
            drawn += (
                f'<rect x="{x:.1f}" y="{bottom:.1f}" width="{max(0.8, step - 0.8):.1f}" '
                f'height="{tall:.1f}" class="{kind}"/>'
            )
    return drawn


def _total(second: Second) -> int:
    return second.served + second.refused + second.cut
