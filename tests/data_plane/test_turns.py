"""A burst over the limit is served within the retries that clients make by themselves."""

import heapq
import random
from itertools import count

import pytest

from gateway.data_plane.limits.concurrency import InFlight, TooManyInFlight
from gateway.data_plane.limits.turns import Turns
from gateway.data_plane.routing.outcomes import NoWorker
from gateway.errors import TooManyRequests, Unavailable

LIMIT, BURST = 2, 16
RETRIES = 2
"""What the SDKs of OpenAI and Vercel make, and so all that is built on them."""


class Street:
    """Clients that come at the same moment, on a clock that runs as fast as they allow."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.now = 0.0
        self.source = random.Random(seed)
        self.seconds = seconds
        self.in_flight = InFlight(
            total_max=100, organization_max=LIMIT, bytes_max=1, organization_bytes_max=1,
            turns=Turns(clock=lambda: self.now, uniform=self.source.uniform),
        )  # fmt: skip
        self.served = self.refused = 0
        self._events: list[tuple] = []
        self._order = count()

    def at(self, seconds: float, do, *args) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), do, args))

    def run(self) -> None:
        while self._events:
            self.now, _, do, args = heapq.heappop(self._events)
            do(*args)

    def come(self, retries: int) -> None:
        try:
            place = self.in_flight.admit("org")
        except TooManyInFlight as error:
            self.refused += 1
            told = int(error.headers["retry-after-ms"]) / 1000
            if retries:  # SDKs obey it to the letter; the rest is the network's
                self.at(told + self.source.uniform(0, 0.02), self.come, retries - 1)
            return
        place.__enter__()
        self.at(self.seconds * self.source.uniform(0.8, 1.2), self.leave, place)

    def leave(self, place) -> None:
        place.__exit__(None, None, None)
        self.served += 1


@pytest.mark.parametrize("seconds", [0.005, 0.05, 0.2, 0.5, 1.0, 3.0])
def test_all_of_a_burst_are_served(seconds: float):
    for seed in range(10):
        street = Street(seed, seconds)
        for number in range(32):  # what came before tells how long a place is held
            street.at(number * 10, street.come, 0)
        for _ in range(BURST):
            street.at(400, street.come, RETRIES)
        street.run()
        assert street.served == 32 + BURST
        assert street.refused <= 2 * BURST, "nor do they knock in vain"


def test_the_first_burst_of_all_is_served_too():
    for seed in range(20):
        street = Street(seed, seconds=0.2)
        for _ in range(BURST):
            street.at(0, street.come, RETRIES)
        street.run()
        assert street.served == BURST


def test_turns_are_bounded_in_time_and_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.data_plane.limits.turns._CALLERS_MAX", 3)
    now = 0.0
    turns = Turns(clock=lambda: now)
    waits = [turns.wait_seconds("a", 1) for _ in range(100)]
    assert waits[:20] == sorted(waits[:20]), "one behind the other"
    assert max(waits) <= 60
    assert min(waits[70:]) >= 30, "and without an order when there are too many"
    for caller in "bcdef":
        assert turns.wait_seconds(caller, 1) < 1
    assert len(turns._next) == 3
    now = 100.0
    turns.wait_seconds("d", 1)
    assert list(turns._next) == ["d"]


@pytest.mark.parametrize(("seconds", "low", "high"), [(1, 1, 1.5), (40, 40, 60), (300, 40, 60)])
def test_whoever_is_refused_with_many_is_told_a_time_of_their_own(seconds, low, high):
    for error in (
        lambda: Unavailable("", retry_after_seconds=seconds),
        lambda: TooManyRequests("", retry_after_seconds=seconds),
        lambda: NoWorker(seconds),
    ):
        told = [int(error().headers["retry-after-ms"]) / 1000 for _ in range(100)]
        assert low <= min(told) <= max(told) <= high
        assert len(set(told)) > 50
