"""The page that a whole run makes: docs/storm.md, and its picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.storm.outcome import Outcome
from benchmarks.storm.picture import draw
from benchmarks.storm.template import CUSTOMERS

PAGE, PICTURE = Path("docs/storm.md"), Path("docs/storm.svg")

_TEMPLATE = Path(__file__).with_name("page.md")


def write(outcomes: Sequence[Outcome], missing: Sequence[str]) -> None:
    """Write the page and its picture."""
    PICTURE.write_text(draw(outcomes))
    PAGE.write_text(page(outcomes, missing))


def page(outcomes: Sequence[Outcome], missing: Sequence[str]) -> str:
    """Return the page, in Markdown."""
    broken = sum(len(outcome.verdict.broken) for outcome in outcomes)
    return _TEMPLATE.read_text().format(
        when=_when(outcomes),
        seeds=", ".join(map(str, sorted({outcome.seed for outcome in outcomes}))),
        machine=_machine(),
        customers=CUSTOMERS,
        count=len(outcomes),
        requests=f"{sum(outcome.requests for outcome in outcomes):,}",
        wrong=sum("vectors" in line for one in outcomes for line in one.verdict.broken),
        broken=broken,
        written_off=sum(outcome.verdict.written_off for outcome in outcomes),
        unasked=sum(outcome.verdict.unasked for outcome in outcomes),
        missing=f"\nNot in this run: {_named(missing)}.\n" if missing else "",
        tables=_tables(outcomes),
    )


def _named(scenarios: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in scenarios)


def _tables(outcomes: Sequence[Outcome]) -> str:
    tables = [
        f"## {group}\n\n"
        "| fault | load | served | refused | lost | whole after | slowest | verdict |\n"
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- |\n" + "".join(map(_line, some))
        for group, some in groupby(outcomes, lambda outcome: outcome.group)
    ]
    return "\n".join(tables)


def _line(outcome: Outcome) -> str:
    verdict = outcome.verdict
    refused = ", ".join(f"{count} x `{name}`" for name, count in outcome.refused.items())
    notes = [*outcome.notes]
    if verdict.unasked:
        notes.append(f"{verdict.unasked} charges reached nobody.")
    if verdict.replays:
        notes.append(f"{verdict.replays} retries were free.")
    cells = [
        f"**{outcome.title}**: {outcome.about} {' '.join(notes)}".strip(),
        f"{outcome.rate:.0f}/s",
        f"{outcome.served:,} of {outcome.requests:,}",
        refused or "nothing",
        "nothing" if not verdict.broken else str(len(verdict.broken)),
        f"{outcome.whole_seconds:.1f} s",
        f"{outcome.slowest_seconds:.1f} s",
        "holds" if outcome.holds else "**broken**: " + "; ".join(outcome.unmet or ["invariants"]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _when(outcomes: Sequence[Outcome]) -> str:
    """Say from when until when they ran."""
    first, last = (ends(outcome.at for outcome in outcomes) for ends in (min, max))
    return f"{first:%d %B %Y, %H:%M} to {last:%H:%M} UTC"


def _machine() -> str:
    """Say what this ran on."""
    load = os.getloadavg()[2]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}, Python "
        f"{platform.python_version()}) whose load was {load:.1f}"
    )
