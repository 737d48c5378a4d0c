"""The requests: many small ones, a few large ones, sometimes a flood."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

ORGANIZATIONS = 20


@dataclass(slots=True, eq=False, frozen=True)
class Arrival:
    """One request: rows by their tokens."""

    at: float
    organization: str
    kind: str
    rows: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(self.rows)


SHARES = (("short", 0.70), ("medium", 0.25), ("large", 0.05))


def steady(source: random.Random, *, tokens_per_second: float, seconds: float) -> Iterator[Arrival]:
    """70 % one short text, 25 % 8 x ~180 tokens, 5 % 128 x ~350 tokens; arrivals are Poisson."""
    mean = 0.70 * 12 + 0.25 * 8 * 180 + 0.05 * 128 * 350
    now = 0.0
    while True:
        now += source.expovariate(tokens_per_second / mean)
        if now >= seconds:
            return
        organization = f"org{source.randrange(ORGANIZATIONS)}"
        kind = source.choices([k for k, _ in SHARES], [w for _, w in SHARES])[0]
        yield Arrival(now, organization, kind, _rows(source, kind))


def flood(*, at: float, tokens: int) -> Iterator[Arrival]:
    """One organization sends its whole corpus at once, in requests of 128 x 350 tokens."""
    request = (350,) * 128
    for _ in range(tokens // sum(request)):
        yield Arrival(at, "flooder", "flood", request)


def _rows(source: random.Random, kind: str) -> tuple[int, ...]:
    match kind:
        case "short":
            return (source.randint(6, 18),)
        case "medium":
            return tuple(source.randint(90, 270) for _ in range(8))
        case _:
            return tuple(source.randint(175, 525) for _ in range(128))
