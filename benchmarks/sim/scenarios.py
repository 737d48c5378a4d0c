"""What is compared, and what the router must reach."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from benchmarks.sim.clock import VirtualClock
from benchmarks.sim.engine import TOKENS_PER_SECOND, Engine
from benchmarks.sim.policies import NAMES, Fifo, Pick, Policy
from benchmarks.sim.router import Routed
from benchmarks.sim.traffic import Arrival, flood, steady

WORKERS = 3
CAPACITY = WORKERS * TOKENS_PER_SECOND
DEADLINE_SECONDS = 10.0
FIFO = "fifo"
ROUTER = "this router"
POLICIES = (*NAMES, ROUTER)


@dataclass
class Run:
    """The results of one policy in one scenario."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: int = 0
    served_tokens: int = 0
    requests: int = 0

    def p99(self, kind: str = "short") -> float:
        """Return the 99th percentile of a kind's latency, seconds; infinite if none was served."""
        values = sorted(self.latencies[kind])
        return values[min(int(0.99 * len(values)), len(values) - 1)] if values else float("inf")

    @property
    def error_share(self) -> float:
        """Share of the requests that ended in an error."""
        return self.errors / max(1, self.requests)


def run(
    name: str,
    arrivals: Iterable[Arrival],
    *,
    seed: int,
    seconds: float,
    slowness: float = 1.0,
    broken: bool = False,
    gateways: int = 1,
    deadline_seconds: float | None = None,
) -> Run:
    """Run one policy; `slowness` and `broken` are the first worker's.

    With a deadline, only what is served in time counts as served.
    """
    clock, found = VirtualClock(), Run()
    engines = [Engine(clock) for _ in range(WORKERS)]
    engines[0].slowness, engines[0].broken = slowness, broken

    def done(arrival: Arrival, good: bool) -> None:
        found.requests += 1
        late = deadline_seconds is not None and clock.now - arrival.at > deadline_seconds
        if not good or late:
            found.errors += 1
        else:
            found.latencies[arrival.kind].append(clock.now - arrival.at)
            found.served_tokens += arrival.tokens

    def policy(source: random.Random) -> Policy:
        if name == ROUTER:
            return Routed(
                clock,
                engines,
                source,
                done,
                gateways=gateways,
                deadline_seconds=deadline_seconds,
            )
        if name == FIFO:
            return Fifo(engines, done)
        return Pick(name, engines, source, done)

    policies = [policy(random.Random(seed + index)) for index in range(gateways)]
    for index, arrival in enumerate(arrivals):
        clock.at(arrival.at, partial(policies[index % gateways].take, arrival))
    clock.run(seconds)
    return found


def at_load(name: str, *, seed: int, seconds: float, load: float = 0.8, gateways: int = 1) -> Run:
    """Run with healthy workers."""
    arrivals = steady(random.Random(seed), tokens_per_second=load * CAPACITY, seconds=seconds)
    return run(name, arrivals, seed=seed, seconds=seconds + 60, gateways=gateways)


def one_slow(name: str, *, seed: int, seconds: float) -> Run:
    """One worker 20 times slower, half of the load."""
    arrivals = steady(random.Random(seed), tokens_per_second=0.5 * CAPACITY, seconds=seconds)
    return run(name, arrivals, seed=seed, seconds=seconds + 600, slowness=20.0)


def one_broken(name: str, *, seed: int, seconds: float) -> Run:
    """One worker answers 500 in 1 ms, half of the load."""
    arrivals = steady(random.Random(seed), tokens_per_second=0.5 * CAPACITY, seconds=seconds)
    return run(name, arrivals, seed=seed, seconds=seconds + 60, broken=True)


def flooded(name: str, *, seed: int, seconds: float) -> Run:
    """One organization dumps 10M tokens into a load of 30 %."""
    usual = steady(random.Random(seed), tokens_per_second=0.3 * CAPACITY, seconds=seconds)
    arrivals = chain(usual, flood(at=5.0, tokens=10_000_000))
    return run(name, arrivals, seed=seed, seconds=seconds + 120)


def saturated(name: str, *, seed: int, seconds: float) -> Run:
    """Requests for 130 % of what the engines can compute, each with a deadline of 10 s."""
    arrivals = steady(random.Random(seed), tokens_per_second=1.3 * CAPACITY, seconds=seconds)
    return run(name, arrivals, seed=seed, seconds=seconds, deadline_seconds=DEADLINE_SECONDS)


def goodput(found: Run, seconds: float) -> float:
    """Tokens served in time, as a share of what the engines could have computed."""
    return found.served_tokens / (CAPACITY * seconds)


@dataclass(frozen=True)
class Table:
    """All figures: scenario -> policy -> seconds, or a share; and p99 by number of gateways."""

    cells: dict[str, dict[str, float]]
    gateways: dict[int, float]


@dataclass(frozen=True)
class Target:
    """A claim about the router, what was measured, and the bound."""

    claim: str
    found: float
    bound: float
    at_most: bool = True

    @property
    def reached(self) -> bool:
        """Whether the target was reached."""
        return self.found <= self.bound if self.at_most else self.found >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{self.claim}: {self.found:.3f} {sign} {self.bound}"


def measure(*, seed: int, seconds: float) -> Table:
    """Run every policy through every scenario."""
    everyone = (*POLICIES, FIFO)
    cells = {
        "load": {name: at_load(name, seed=seed, seconds=seconds).p99() for name in everyone},
        "slow": {name: one_slow(name, seed=seed, seconds=seconds).p99() for name in everyone},
        "broken": {
            name: one_broken(name, seed=seed, seconds=seconds).error_share for name in everyone
        },
        "flood": {name: flooded(name, seed=seed, seconds=seconds).p99() for name in everyone},
        "goodput": {
            name: goodput(saturated(name, seed=seed, seconds=seconds), seconds) for name in everyone
        },
    }
    shared = {
        gateways: at_load(ROUTER, seed=seed, seconds=seconds, gateways=gateways).p99()
        for gateways in (1, 2, 4, 8)
    }
    return Table(cells, shared)


def targets(table: Table) -> list[Target]:
    """Compare the figures with the targets."""
    load, slow, flooding = table.cells["load"], table.cells["slow"], table.cells["flood"]
    least = "least requests"
    return [
        Target("p99 at 80 % load / least requests", load[ROUTER] / load[least], 0.4),
        Target("p99 with one slow worker / least requests", slow[ROUTER] / slow[least], 0.15),
        Target("the others' p99 in a flood / fifo", flooding[ROUTER] / flooding[FIFO], 0.1),
        Target("errors with one broken worker", table.cells["broken"][ROUTER], 0.003),
        Target("p99 with 8 gateways / with 1", table.gateways[8] / table.gateways[1], 1.5),
        Target("goodput at saturation", table.cells["goodput"][ROUTER], 0.93, at_most=False),
    ]
