"""Answers are counted in memory: bounded, in the hour of the last drain, and nothing is lost."""

import pytest

from gateway.data_plane.tallies import BOUNDS_MS, LATENCY_MS_MAX, AnswerTally, ErrorEntry, Tally
from testing.gateways import MODEL, Api


def test_an_answer_is_counted_under_the_bound_that_it_does_not_pass():
    counter = AnswerTally(entries_max=100, clock=lambda: 7_200.0)
    for seconds in (0.0, 0.001, 0.0011, 0.050, 0.051, 59.0, 10_000.0):
        counter.answered("o", "k", "m", 200, "", seconds)
    counted = {entry.latency_ms: count for entry, count in counter.drain().answers.items()}
    assert counted == {1: 2, 2: 1, 50: 1, 70: 1, 60_000: 1, LATENCY_MS_MAX: 1}
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))


def test_the_hour_is_that_of_the_last_drain():
    now = [3_599.0]
    counter = AnswerTally(entries_max=100, clock=lambda: now[0])
    counter.answered("o", "k", "m", 200, "", 0.01)
    now[0] = 3_601.0
    counter.answered("o", "k", "m", 200, "", 0.01)
    drained = counter.drain()
    assert [(entry.hour, count) for entry, count in drained.answers.items()] == [(0, 2)]
    assert not drained.errors
    counter.answered("o", "k", "", 404, "model_not_found", 0.01)
    drained = counter.drain()
    assert [(entry.hour, entry.status_class) for entry in drained.answers] == [(1, 4)]
    assert drained.errors == {ErrorEntry("o", 1, "k", "", 404, "model_not_found"): 1}


def test_a_tally_is_bounded_and_a_failed_drain_loses_nothing():
    tally = Tally(entries_max=2)
    for entry in ("a", "b", "c", "a"):
        tally.add(entry)

    def write() -> None:
        with tally.draining() as counts:
            assert counts == {"a": 2, "b": 1}
            tally.add("b")
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        write()
    assert tally.drain() == {"a": 2, "b": 2}
    assert tally.drain() == {}


async def test_answers_count_for_the_organization_of_a_good_key_alone(api: Api):
    assert (await api.embed()).status_code == 200
    assert (await api.embed(model="no such model")).status_code == 404
    estimate = await api.http.post(
        "/v1/embeddings/estimate", json={"model": "x", "input": "y"}, headers=api.headers
    )
    assert estimate.status_code == 404
    api.headers["authorization"] = "Bearer sk-nobody"
    assert (await api.embed()).status_code == 401
    counted = [
        (entry.organization_id, entry.model_id, entry.status_class, count)
        for entry, count in sorted(api.gateway.data.records.answers.drain().answers.items())
    ]
    own = api.ledger.organization_id
    assert counted == [(own, "", 4, 1), (own, MODEL, 2, 1)]
