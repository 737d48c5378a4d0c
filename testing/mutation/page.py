"""Writes docs/benchmarks/mutation.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch

import msgspec

from testing.mutation.changes import Change
from testing.mutation.sample import AREAS, Area
from testing.mutation.trial import Verdict


class Equivalent(msgspec.Struct, frozen=True):
    """A change that makes no difference to anybody, by judgement."""

    path: str
    text: str
    """The line, without its indent."""
    before: str
    after: str
    why: str


def write(
    verdicts: Sequence[Verdict],
    chosen: int,
    equivalent: Sequence[Equivalent],
    areas: Sequence[Area] = AREAS,
    *,
    seed: int,
    seconds: float,
) -> str:
    """Return the page: how many were seen in each area, and each that was not."""
    verdicts = sorted(verdicts, key=lambda verdict: (verdict.change.path, verdict.change.start))
    reasons = {(one.path, one.text, one.before, one.after): one.why for one in equivalent}

    def why(change: Change) -> str | None:
        return reasons.get((change.path, change.text, change.before, change.after))

    survivors = [verdict for verdict in verdicts if verdict.seen_by is None]
    real = [verdict for verdict in survivors if why(verdict.change) is None]
    table = [
        "| area | changes | equivalent | seen | not seen | seen |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, files in [*((area.name, area.files) for area in areas), ("**all**", ("*",))]:
        inside = [v for v in verdicts if any(fnmatch(v.change.path, each) for each in files)]
        if not inside:
            continue
        same = sum(v.seen_by is None and why(v.change) is not None for v in inside)
        seen = sum(v.seen_by is not None for v in inside)
        missed = len(inside) - same - seen
        share = f"{seen / (seen + missed):.0%}" if seen + missed else ""
        table.append(f"| {name} | {len(inside)} | {same} | {seen} | {missed} | {share} |")
    return "\n".join(
        [
            _OPENING.format(
                seed=seed, tried=len(verdicts), day=datetime.now(UTC).date(), seconds=seconds
            ),
            *(["", f"{chosen - len(verdicts)} were not tried."] if chosen > len(verdicts) else []),
            "",
            *table,
            "",
            "## Not seen",
            "",
            *(f"- {v.change} ({v.ran} tests ran it)" for v in real),
            *([] if real else ["None."]),
            "",
            "## Equivalent, by judgement",
            "",
            *(f"- {v.change}: {why(v.change)}" for v in survivors if why(v.change)),
            "",
        ]
    )


_OPENING = """\
# Does a test fail when a line of the heart changes?

`make mutate` changes one thing at a time in a copy of the tree: it moves a bound by one, reverses
or removes a condition, leaves out a call or an assignment, or takes a lock or a condition from a
query. It runs the tests that run that line, the quickest first and at most {seconds:.0f} seconds of
them, until one fails. {tried} changes, sampled with the seed {seed}, on {day}. Which lines other
processes run is not recorded, so what only a test with several processes could see counts as not
seen."""
