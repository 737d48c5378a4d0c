"""`python -m benchmarks.faults`: run every fault in its long form and print the findings.

Exits with 1 if an assertion failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks.faults.processes import Fleet
from benchmarks.faults.scenarios import scenarios


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="names that hold this text")
    args = parser.parse_args()
    broken, fleet = 0, Fleet()
    print(f"seed {args.seed}")
    for name, scenario in scenarios().items():
        if args.only not in name:
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
