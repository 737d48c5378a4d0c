"""The common policies: a whole request goes to one worker as soon as it arrives."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from benchmarks.sim.engine import Engine
from benchmarks.sim.traffic import Arrival


class Policy(Protocol):
    """Accepts requests; `done` is called once for each, with whether it was served."""

    def take(self, arrival: Arrival) -> None:
        """Route one request."""
        ...


class Pick:
    """A policy that chooses a worker and sends at once."""

    def __init__(
        self,
        name: str,
        engines: Sequence[Engine],
        source: random.Random,
        done: Callable[[Arrival, bool], None],
    ) -> None:
        self._choose = _CHOICES[name]
        self._engines = engines
        self._source = source
        self._done = done
        self._turn = 0

    def take(self, arrival: Arrival) -> None:
        """Send a request to the chosen worker."""
        self._turn += 1
        engine = self._choose(self._engines, self._source, self._turn)
        engine.call(list(arrival.rows), lambda good: self._done(arrival, good))


class Fifo:
    """One central queue, first in, first out, to any worker with room: no fairness, no shards."""

    def __init__(
        self,
        engines: Sequence[Engine],
        done: Callable[[Arrival, bool], None],
    ) -> None:
        self._engines = engines
        self._done = done
        self._waiting: list[Arrival] = []
        self._at = 0

    def take(self, arrival: Arrival) -> None:
        """Queue a request."""
        self._waiting.append(arrival)
        self._pump()

    def _pump(self) -> None:
        while self._at < len(self._waiting):
            engine = min(self._engines, key=lambda engine: engine.tokens)
            if engine.tokens >= 16_384:
                return
            arrival = self._waiting[self._at]
            self._at += 1
            engine.call(list(arrival.rows), partial(self._came, arrival))

    def _came(self, arrival: Arrival, good: bool) -> None:
        self._done(arrival, good)
        self._pump()


def _round_robin(engines: Sequence[Engine], _: random.Random, turn: int) -> Engine:
    return engines[turn % len(engines)]


def _power_of_two(engines: Sequence[Engine], source: random.Random, _: int) -> Engine:
    return min(source.sample(list(engines), 2), key=lambda engine: engine.requests)


def _least_requests(engines: Sequence[Engine], source: random.Random, _: int) -> Engine:
    return min(engines, key=lambda engine: (engine.requests, source.random()))


def _least_tokens(engines: Sequence[Engine], source: random.Random, _: int) -> Engine:
    return min(engines, key=lambda engine: (engine.tokens, source.random()))


_CHOICES: dict[str, Callable[[Sequence[Engine], random.Random, int], Engine]] = {
    "round robin": _round_robin,
    "power of two": _power_of_two,
    "least requests": _least_requests,
    "least tokens": _least_tokens,
}
NAMES = tuple(_CHOICES)
