"""`python -m benchmarks.faults`: run every fault in its long form and print the findings.

Exits with 1 if an assertion failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial

from benchmarks.faults import inputs, scenarios
from benchmarks.faults.processes import Fleet

_SHORT = {
    "kill -9, twenty times": partial(scenarios.killed, times=3),
    "20 times slower": partial(scenarios.slow, seconds=2.0),
    "flapping": partial(scenarios.flapping, times=2),
    "rolling SIGTERM restarts": None,
    "poison, refused": partial(inputs.poisoned, kind="poison", requests=3),
    "poison, failing": partial(inputs.poisoned, kind="poison_error", requests=3),
    "a deadly input": partial(inputs.deadly, kind="deadly", requests=2),
    "an input that is deadly slowly": None,
    "an input that breaks engines": partial(inputs.deadly, kind="breaking", requests=2),
    "300 ms of a blocked event loop": partial(scenarios.loop_blocked, times=1),
    "vanish and return": partial(scenarios.vanishing, times=2),
}
"""What repeats less often in the short form, or is left out of it."""


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--short", action="store_true", help="repeat less often")
    args = parser.parse_args()
    broken, fleet = 0, Fleet()
    print(f"seed {args.seed}")
    chosen = scenarios.scenarios() | (_SHORT if args.short else {})
    for name, scenario in chosen.items():
        if args.only not in name or scenario is None:
            continue
        try:
            found = asyncio.run(scenario(fleet, args.seed))
        except (AssertionError, TimeoutError) as error:
            broken += 1
            print(f"BROKEN  {name:32} {type(error).__name__} {error}", flush=True)
        else:
            figures = "  ".join(f"{key} {value:.4g}" for key, value in found.items())
            print(f"kept    {name:32} {figures}", flush=True)
    fleet.end()
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
