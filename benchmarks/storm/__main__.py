"""`make storm`: run every scenario, and draw docs/storm.md.

    python -m benchmarks.storm [--only NAME ...] [--seconds N] [--seed N] [--list] [--page]

The page is drawn once each was run, of the latest run of each.

Exits with 1 if an invariant is broken or the service did not do as a scenario expects; the
evidence is in build/storm/NAME then.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.storm import deployment, page, scenarios
from benchmarks.storm.outcome import Outcome
from benchmarks.storm.registry import SCENARIOS, SHORT, Scenario
from benchmarks.storm.runner import EVIDENCE, kept, run
from benchmarks.storm.template import Template
from testing import servers

assert scenarios  # imported for the scenarios that it registers


async def storm(chosen: list[Scenario], *, seed: int, seconds: float | None) -> list[Outcome]:
    """Run scenarios, one after the other."""
    outcomes, workers = [], deployment.fleet()
    try:
        with tempfile.TemporaryDirectory(prefix="stella-storm-", dir=servers.in_memory()) as name:
            template = Template(Path(name))
            await template.make()
            for scenario in chosen:
                outcomes.append(await run(scenario, template, workers, seed=seed, seconds=seconds))
                _tell(outcomes[-1])
    finally:
        workers.end()
    return outcomes


def _tell(outcome: Outcome) -> None:
    verdict = outcome.verdict
    print(
        f"{'holds ' if outcome.holds else 'BROKEN'} {outcome.name:36} "
        f"{outcome.served}/{outcome.requests} served, slowest {outcome.slowest_seconds:.1f} s, "
        f"whole after {outcome.whole_seconds:.1f} s, {outcome.refused or 'nothing refused'}, "
        f"{verdict.unasked} unasked, {verdict.written_off} written off, "
        f"{outcome.seconds:.0f} s",
        *outcome.notes,
        flush=True,
    )
    for line in [*verdict.broken, *outcome.unmet]:
        print(f"    {line}", flush=True)
    if not outcome.holds:
        print(f"    evidence: {EVIDENCE / outcome.name}", flush=True)


def _draw(*, even_partly: bool) -> None:
    all_of_them = [one for one in SCENARIOS if one.group != SHORT]
    latest = kept(all_of_them)
    names = {outcome.name for outcome in latest}
    missing = [one.name for one in all_of_them if one.name not in names]
    if latest and (even_partly or not missing):
        page.write(latest, missing)


def _become_root() -> None:
    """Start anew as root of a user namespace of our own: only root may mount a small disk."""
    if os.geteuid() != 0:
        own = ["unshare", "--user", "--map-root-user", "--mount"]
        command = [*own, sys.executable, "-m", "benchmarks.storm", *sys.argv[1:]]
        os.execvp(command[0], command)  # noqa: S606 - our own command


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="names that hold this text")
    parser.add_argument("--seconds", type=float, help="how long each fault lasts")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--page", action="store_true", help="draw what was run, and run nothing")
    args = parser.parse_args()
    if args.page:
        _draw(even_partly=True)
        return 0
    chosen = [
        one
        for one in SCENARIOS
        if (any(part in one.name for part in args.only) if args.only else one.group != SHORT)
    ]
    if args.list:
        for one in chosen:
            print(f"{one.group:12} {one.name:36} {one.about}")
        return 0
    _become_root()
    print(f"seed {args.seed}", flush=True)
    began = time.monotonic()
    outcomes = asyncio.run(storm(chosen, seed=args.seed, seconds=args.seconds))
    if args.seconds is None:
        _draw(even_partly=False)
    broken = [outcome.name for outcome in outcomes if not outcome.holds]
    print(f"{len(outcomes)} scenarios in {time.monotonic() - began:.0f} s; broken: {broken or 0}")
    return 1 if broken or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
