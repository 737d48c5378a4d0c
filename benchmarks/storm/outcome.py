"""What a scenario found: what the page and the command tell of it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime

import msgspec

from benchmarks.storm.books import Verdict
from benchmarks.storm.deployment import GATEWAYS
from benchmarks.storm.registry import Scenario
from benchmarks.storm.storm import WARM_SECONDS, Storm
from benchmarks.storm.template import CUSTOMERS


class Second(msgspec.Struct):
    """One second of the time line."""

    served: int = 0
    refused: int = 0
    cut: int = 0
    """Attempts that got no answer."""


class Outcome(msgspec.Struct):
    """One run of one scenario."""

    name: str
    group: str
    about: str
    seed: int
    at: datetime
    requests: int
    served: int
    failed: dict[str, int]
    """Requests that failed for good, by status and code."""
    refused: dict[str, int]
    """Attempts that got no vectors, by status and code."""
    slowest_seconds: float
    whole_seconds: float
    seconds: float
    spans: list[tuple[float, float]]
    line: list[Second]
    verdict: Verdict
    notes: list[str]
    unmet: list[str]
    """What was expected of the service and did not hold."""

    @property
    def title(self) -> str:
        """Its name as people write it."""
        words = self.name.replace("-s-", "'s ").replace("-", " ")
        for name in ("PostgreSQL", "Valkey", "Stripe"):
            words = words.replace(name.lower(), name)
        return words[:1].upper() + words[1:]

    @property
    def from_second(self) -> int:
        """Where the time line begins: as the load does, some time before the first fault."""
        begins = min((begin for begin, _ in self.spans), default=0.0)
        return max(0, int(begins - WARM_SECONDS))

    @property
    def rate(self) -> float:
        """Requests a second under load."""
        warm = CUSTOMERS * GATEWAYS
        return max(0, self.requests - warm) / max(1, len(self.line) - self.from_second)

    @property
    def holds(self) -> bool:
        """Whether no invariant is broken and the service did as expected."""
        return not self.verdict.broken and not self.unmet


def outcome_of(scenario: Scenario, storm: Storm, verdict: Verdict, seed: int) -> Outcome:
    """Sum up a scenario that has ended."""
    record, whole = storm.record, storm.whole_after()
    failed = record.failed()
    unmet = list(storm.expectations)
    unmet += [
        f"{count} requests failed for good: {name}"
        for name, count in failed.items()
        if count > scenario.fails.get(name, 0) * len(record.requests)
    ]
    if whole > scenario.whole_seconds:
        unmet.append(f"whole again only after {whole:.1f} s")
    if verdict.unasked > scenario.unasked:
        unmet.append(f"{verdict.unasked} charges whose answer nobody got")
    if verdict.written_off > scenario.written_off:
        unmet.append(f"{verdict.written_off} answers written off")
    return Outcome(
        name=scenario.name,
        group=scenario.group,
        about=scenario.about,
        seed=seed,
        at=datetime.now(UTC),
        requests=len(record.requests),
        served=record.served,
        failed=dict(failed),
        refused=dict(record.refused(since=storm.loaded_at)),
        slowest_seconds=record.slowest(),
        whole_seconds=whole,
        seconds=time.monotonic() - storm.began,
        spans=storm.spans,
        line=_line(storm),
        verdict=verdict,
        notes=storm.notes,
        unmet=unmet,
    )


def _line(storm: Storm) -> list[Second]:
    kinds: dict[str, Counter[int]] = {"served": Counter(), "refused": Counter(), "cut": Counter()}
    for _, attempt in storm.record.attempts():
        kind = "served" if attempt.served else "refused" if attempt.status else "cut"
        kinds[kind][int(attempt.ended)] += 1
    last = max((max(kind, default=0) for kind in kinds.values()), default=0)
    return [
        Second(**{name: kind[second] for name, kind in kinds.items()}) for second in range(last + 1)
    ]
