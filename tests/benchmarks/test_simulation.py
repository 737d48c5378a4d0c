"""The simulator's targets, in a short form: the real core against least requests and FIFO."""

import pytest

from benchmarks.sim import chart
from benchmarks.sim import scenarios as sim

SECONDS = 40.0
SEEDS = [1, 2]


@pytest.fixture(params=SEEDS, ids="seed {}".format)
def seed(request) -> int:
    return request.param


def test_short_texts_are_not_stuck_behind_large_ones(seed: int):
    ours = sim.at_load(sim.ROUTER, seed=seed, seconds=SECONDS)
    assert ours.errors == 0
    assert ours.p99() <= 0.4 * sim.at_load("least requests", seed=seed, seconds=SECONDS).p99()


def test_a_slow_worker_slows_nobody(seed: int):
    ours = sim.one_slow(sim.ROUTER, seed=seed, seconds=SECONDS)
    assert ours.errors == 0
    assert ours.p99() <= 0.15 * sim.one_slow("least requests", seed=seed, seconds=SECONDS).p99()


def test_a_fast_failing_worker_attracts_no_traffic(seed: int):
    ours = sim.one_broken(sim.ROUTER, seed=seed, seconds=SECONDS)
    assert ours.errors == 0
    assert sim.one_broken("least requests", seed=seed, seconds=SECONDS).error_share > 0.3


def test_a_flood_is_the_flooders_own_problem(seed: int):
    ours = sim.flooded(sim.ROUTER, seed=seed, seconds=SECONDS)
    assert ours.p99() <= 0.1 * sim.flooded(sim.FIFO, seed=seed, seconds=SECONDS).p99()


def test_saturation_wastes_little(seed: int):
    assert sim.goodput(sim.saturated(sim.ROUTER, seed=seed, seconds=60), 60) >= 0.93


def test_gateways_that_share_the_window_stay_fast(seed: int):
    one, eight = (
        sim.at_load(sim.ROUTER, seed=seed, seconds=SECONDS, gateways=gateways).p99()
        for gateways in (1, 8)
    )
    assert eight <= 1.5 * one


def test_the_chart_is_well_formed(seed: int):
    table = sim.Table(
        {key: {sim.ROUTER: 0.2, "fifo": 9.0} for key in ("load", "slow", "flood")}, {}
    )
    drawn = chart.draw(table, seed=seed)
    assert drawn.startswith("<svg")
    assert "200 ms" in drawn
    assert "9.0 s" in drawn
