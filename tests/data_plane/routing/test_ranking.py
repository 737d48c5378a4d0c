"""The order of the workers: the choice of a look at all of them, for the price of a look at few."""

import random
import sys
from collections import Counter
from statistics import median

import pytest

from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.ranking import Ranking
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import Worker
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import LINE, World


class Fleet:
    """Workers that change at random, and their ranking."""

    def __init__(self, seed: int, count: int, *, alike: bool) -> None:
        self.source = random.Random(seed)
        self.now = 100.0
        self.workers: dict[str, Worker] = {}
        self.ranking = Ranking(self.workers.values())
        for number in range(count):
            worker = self.workers[str(number)] = Worker(
                str(number),
                RoutingSettings(),
                self.now,
                notify=lambda _: None,
                moved=self.ranking.moved,
            )
            spread = 1.0 if alike else self.source.uniform(0.8, 3.0)
            worker.speed.calibrate(LINE[0] * spread, LINE[1] * spread)
            worker.enter(WorkerState.READY, "ready", self.now)

    def change(self) -> None:
        worker = self.source.choice(list(self.workers.values()))
        match self.source.randrange(6):
            case 0:
                worker.begin(self.source.randrange(1, 4096), self.now)
            case 1 if worker.calls == 1:
                worker.end(worker.tokens)
            case 2:
                worker.speed.observe(self.source.uniform(0.0, 0.2), 100, self.now)
            case 3:
                worker.busy(self.source.uniform(0.0, 1.0), self.now)
            case 4:
                worker.speed.assume(self.source.choice([0.5, 1.0, 3.0]), self.now)
            case 5:
                ready = self.source.random() < 0.8
                state = WorkerState.READY if ready else WorkerState.DRAINING
                worker.enter(state, "changed", self.now)
        self.now += self.source.choice([0.0, 0.001, 0.03, 2.0])

    @property
    def ready(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.ready]


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_the_first_is_the_first_of_all(seed, alike):
    fleet = Fleet(seed, 12, alike=alike)
    for _ in range(300):
        fleet.change()
        tokens = fleet.source.choice([1, 50, 4096])
        shunned = set(fleet.source.sample(fleet.ready, min(2, len(fleet.ready))))
        able = [worker for worker in fleet.ready if worker not in shunned]
        expected = min(
            able, key=lambda w: (w.predicted(tokens, fleet.now), w.used_at), default=None
        )
        found = fleet.ranking.first(tokens, fleet.now, lambda w, _, out=shunned: w not in out)
        assert found is expected


@pytest.mark.parametrize("seed", range(8))
def test_the_bounds_are_bounds(seed):
    fleet = Fleet(seed, 9, alike=False)
    for _ in range(300):
        fleet.change()
        ready, now = fleet.ready, fleet.now
        plenty = fleet.ranking.plenty(now)
        if plenty is not None:
            assert plenty.rate <= sum(worker.speed.rate(now) for worker in ready) * (1 + 1e-9)
            assert plenty.tokens == sum(worker.tokens for worker in ready)
            assert min(worker.rest_until for worker in ready) <= now
        slows = sorted(worker.speed.slow(now) for worker in ready)
        if slows:
            assert fleet.ranking.usual_slowdown_max(now) >= median(slows)
        for index in range(len(slows) * (len(slows) > 1)):
            others = slows[:index] + slows[index + 1 :]
            assert fleet.ranking.usual_slowdown_min(now) <= median(others) * (1 + 1e-9)
        rests = [w.rest_until for w in fleet.workers.values() if w.rest_until > now]
        assert fleet.ranking.next_rested(now) == min(rests, default=float("inf"))


def calls_of_a_request(workers: int, *, flying: int, together: int) -> float:
    """Count the calls, of Python and of C, that the core makes for one short request."""
    world = World()
    for number in range(workers):
        world.worker(str(number))
    counts: Counter[str] = Counter()

    def serve(number: int) -> None:
        world.now += 0.0001
        world.core.admit(Offer("org", 3, world.now + 30.0))
        last = number % together == together - 1
        world.submit(3, first=number, turn=last)
        if last and number - len(world.resolved) >= flying:
            world.succeed(world.launched.pop(0))

    for number in range(300):  # so that all were used, and speeds were observed
        serve(number)
    sys.setprofile(lambda _, event, __: counts.update((event,)))
    try:
        for number in range(300, 500):
            serve(number)
    finally:
        sys.setprofile(None)
    assert world.resolved[-1].error is None
    return (counts["call"] + counts["c_call"]) / 200


@pytest.mark.parametrize(
    ("flying", "together"),
    [(0, 1), (16, 1), (0, 10)],
    ids=["one at a time", "sixteen at a time", "ten together"],
)
def test_a_request_costs_the_same_with_many_workers(flying, together):
    fewest = max(1, flying)  # fewer would have to wait, which has a price of its own
    few, many = (
        calls_of_a_request(workers, flying=flying, together=together) for workers in (fewest, 64)
    )
    assert many <= 1.15 * few, f"{few:.0f} calls with {fewest}, {many:.0f} with 64 workers"
