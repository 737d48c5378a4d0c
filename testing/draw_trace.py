"""`python -m testing.draw_trace FILE`: draw the trace of one request, from spans that rotel took.

A gateway, the embedded model in a worker and PostgreSQL run as they do in production; the request
is sent once everything is warm.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from gateway.control_plane.catalog import catalog
from gateway.storage import migrate
from gateway.storage.database import Database
from testing import servers
from testing.collector import Span
from testing.traced import Traced, traced

_WARM = 20
_TEXTS = [f"A sentence of which a vector is made, number {number}." for number in range(8)]
_WIDTH, _NAMES, _BAR, _ROW, _TOP = 960, 330, 600, 24, 40
_COLORS = {"stella-gateway": "#3b6fb6", "minilm-worker": "#c2702d"}
_LEDGER = "#4d8f5b"


def main() -> None:
    """Run everything, and write the drawing."""
    parser = argparse.ArgumentParser(prog="python -m testing.draw_trace", description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.postgresql() as url,
    ):
        asyncio.run(_prepare(url))
        with traced(Path(folder), url, ["backends.minilm"]) as running:
            file.write_text(drawing(_spans(running)))


async def _prepare(url: str) -> None:
    database = Database(url)
    await migrate.upgrade(database)
    async with database.write() as connection:
        await catalog.seed(connection)
    await database.close()


def _spans(running: Traced) -> list[Span]:
    """Return the spans of the last request, and of the tick that it is linked to."""
    for _ in range(_WARM):
        answer = running.embed(_TEXTS)
        answer.raise_for_status()
    spans = running.closed()
    request_id = answer.headers["x-request-id"]
    whole = next(s for s in spans if s.attributes.get("gateway.request.id") == request_id)
    own = [span for span in spans if span.trace_id == whole.trace_id]
    ticks = [span for span in spans if (whole.trace_id, whole.span_id) in span.links]
    return own + [span for span in ticks if span.name == "ledger tick"]


def drawing(spans: Sequence[Span]) -> str:
    """Return an SVG: a line for each span, below its parent, as long as it took."""
    rows = list(_rows(spans, ""))
    start = min(span.start_ns for span in spans)
    scale = _BAR / max(span.end_ns - start for span in spans)
    height = _TOP + _ROW * len(rows) + 12
    box, font = f'viewBox="0 0 {_WIDTH} {height}"', 'font-family="sans-serif" font-size="13"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} {font}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    names = [*_COLORS.items(), ("ledger tick, a trace of its own", _LEDGER)]
    for number, (name, color) in enumerate(names):
        left = 12 + 200 * number
        lines.append(f'<rect x="{left}" y="12" width="12" height="12" fill="{color}"/>')
        lines.append(f'<text x="{left + 18}" y="23" fill="#222">{escape(name)}</text>')
    for number, (depth, span) in enumerate(rows):
        x = _NAMES + (span.start_ns - start) * scale
        lines += _line(span, _TOP + _ROW * number, depth, x, scale)
    return "\n".join([*lines, "</svg>", ""])


def _line(span: Span, y: int, depth: int, x: float, scale: float) -> list[str]:
    took = span.end_ns - span.start_ns
    width = max(took * scale, 1.5)
    color = _LEDGER if span.name == "ledger tick" else _COLORS[span.service]
    place, anchor = (x + width + 6, "start") if x + width < _WIDTH - 66 else (x - 6, "end")
    said = f'x="{place:.1f}" y="{y + 16}" fill="#555" text-anchor="{anchor}"'
    return [
        f'<text x="{12 + 16 * depth}" y="{y + 16}" fill="#222">{escape(_short(span))}</text>',
        f'<rect x="{x:.1f}" y="{y + 5}" width="{width:.1f}" height="14" fill="{color}"/>',
        f"<text {said}>{took / 1e6:.2f} ms</text>",
    ]


def _rows(spans: Sequence[Span], parent_id: str, depth: int = 0) -> Iterator[tuple[int, Span]]:
    """Yield each span with its depth, parents before what is in them, in the order of time."""
    inside = [span for span in spans if span.parent_id == parent_id]
    for span in sorted(inside, key=lambda span: span.start_ns):
        yield depth, span
        yield from _rows(spans, span.span_id, depth + 1)


def _short(span: Span) -> str:
    return span.name.replace("sentence-transformers/", "")


if __name__ == "__main__":
    main()
