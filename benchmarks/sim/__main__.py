"""`python -m benchmarks.sim`: run all scenarios, print and draw the table, check the targets.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.sim import chart
from benchmarks.sim.scenarios import FIFO, POLICIES, ROUTER, Table, measure, targets

_COLUMNS = (
    ("p99 at 80 % load", "load"),
    ("one 20x slow, 50 %", "slow"),
    ("one broken, 50 %: errors", "broken"),
    ("10M-token flood", "flood"),
    ("goodput at 130 %", "goodput"),
)


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=120.0, help="of virtual time")
    parser.add_argument("--draw", type=Path, default=Path("docs/benchmarks/routing.svg"))
    args = parser.parse_args()
    table = measure(seed=args.seed, seconds=args.seconds)
    print(f"seed {args.seed}, {args.seconds:.0f} s of virtual time; p99 of one short text, ms")
    print("".join([f"{'':18}", *(f"{title:>26}" for title, _ in _COLUMNS)]))
    for name in (*POLICIES[:-1], FIFO, ROUTER):
        cells = (_cell(table, name, key) for _, key in _COLUMNS)
        print("".join([f"{name:18}", *(f"{cell:>26}" for cell in cells)]))
    by_gateways = ", ".join(
        f"{seconds * 1000:.0f} ms with {gateways}" for gateways, seconds in table.gateways.items()
    )
    print(f"gateways that share the window, 80 % load: {by_gateways}")
    missed = 0
    for target in targets(table):
        print(f"{'reached' if target.reached else 'MISSED '}  {target}")
        missed += not target.reached
    args.draw.parent.mkdir(parents=True, exist_ok=True)
    args.draw.write_text(chart.draw(table, seed=args.seed), encoding="utf-8")
    print(f"drawn into {args.draw}")
    return 1 if missed else 0


def _cell(table: Table, name: str, key: str) -> str:
    value = table.cells[key].get(name)
    if value is None:
        return ""
    if key == "broken":
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if key == "goodput" else f"{value * 1000:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
