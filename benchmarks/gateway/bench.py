"""One run: the worker, the databases and the peers that every part of it uses, and how it measures.

The gateway that is measured has a core for itself. The load, the stand-in worker and PostgreSQL
share the others, so on two cores nothing else may run.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gateway import contenders, machine, native
from benchmarks.gateway.contenders import DIRECT, OURS, OURS_SQLITE, Contender, Running
from benchmarks.gateway.figures import Sample
from benchmarks.gateway.loads import Load, Pace, write
from benchmarks.gateway.native import StandIn
from testing.gateways import STELLA

KEYS = 100
"""Used in turn where keys are not what is measured."""


@dataclass(kw_only=True)
class Bench:
    """A run."""

    folder: Path
    cores: machine.Cores
    worker: StandIn
    urls: Mapping[str, str]
    """The databases of ours, by contender."""
    keys: Mapping[str, Sequence[str]]
    """Theirs; the first `KEYS` are used in turn, the others never before the part on keys."""
    peers: Sequence[Contender]
    seconds: float
    rounds: int
    requests: int
    """Of the long load."""
    problems: list[str] = field(default_factory=list)
    """What must not happen to ours, and did."""
    found: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    """Samples of the closed loops by load and contender, for the chart and later parts."""
    _files: Iterator[int] = field(default_factory=itertools.count)

    def ours(
        self, name: str = OURS, *, on: str = OURS, workers: int = 1, **options: Any
    ) -> Contender:
        """Return ours, with so many links to the one worker; `options` go to `contenders.ours`."""
        links = [self._link(n) for n in range(workers)] if workers > 1 else [self.worker.socket]
        named = " ".join(f"{STELLA}=unix:{link}" for link in links)
        keys = self.keys[on][:KEYS]
        return contenders.ours(name, self.urls[on], keys, named, folder=self.folder, **options)

    def all_of_ours(self) -> list[Contender]:
        """Return ours on each database."""
        return [self.ours(name, on=name) for name in (OURS, OURS_SQLITE)]

    @contextlib.contextmanager
    def running(self, *some: Contender, cores: str = "") -> Iterator[dict[str, Running]]:
        """Run contenders side by side until the block ends."""
        with contenders.running(some, self.folder, cores or self.cores.gateway) as found:
            self.problems += [
                f"{one.name} did not start" for one in some if one.is_ours and one.name not in found
            ]
            yield found

    def measure(
        self,
        now: Running,
        load: Load,
        *,
        pace: Pace | None = None,
        seconds: float = 0.0,
        count: int = 0,
        keys: Sequence[str] = (),
    ) -> Sample:
        """Load a contender, and return what came back and what it used."""
        one, pid = now.contender, now.child.pid
        path = write(self.folder / f"requests-{next(self._files) % 2}.bin", load, keys or one.keys)
        before = machine.cpu_seconds(pid)
        answers = native.send(
            self.folder,
            path,
            one.port,
            pace=pace or load.pace,
            seconds=seconds or self.seconds,
            count=count,
        )
        spent = machine.cpu_seconds(pid) - before
        wrong = answers.client_errors + answers.server_errors + answers.broken
        if wrong and one.is_ours:
            self.problems.append(f"{one.name}, {load.name}: {answers}")
        return Sample(
            answers,
            spent / max(1, answers.all) * 1e6,
            spent / max(answers.seconds, 1e-9),
            machine.resident_mb(pid),
        )

    def alternate(
        self, some: Mapping[str, Running], load: Load, pace: Pace | None = None
    ) -> dict[str, list[Sample]]:
        """Measure contenders in turn, round after round, each round beginning with another."""
        found: dict[str, list[Sample]] = {name: [] for name in some}
        names = list(some)
        for turn in range(self.rounds):
            at = turn % len(names)
            for name in names[at:] + names[:at]:
                sample = self.measure(some[name], load, pace=pace)
                found[name].append(sample)
                answers = sample.answers
                print(
                    f"{load.name:24} {name:24} {answers.rate:9.1f}/s {sample.cpu_us:9.1f} us  "
                    f"p50 {answers.p50_ms:.2f} p99 {answers.p99_ms:.2f} ms",
                    flush=True,
                )
        return found

    def _link(self, number: int) -> Path:
        link = self.folder / f"worker-{number}.sock"
        if not link.is_symlink():
            link.symlink_to(self.worker.socket)
        return link


def has_direct(name: str) -> bool:
    """Tell whether a contender's own CPU time says nothing."""
    return name == DIRECT
