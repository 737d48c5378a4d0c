"""Rows that end workers: two are lost, a third if a call was doubled; everybody else is served."""

import pytest

from backends.protocol import InvalidAnswer, WorkerLost, WorkerUnreachable
from gateway.data_plane.routing import suspects
from gateway.data_plane.routing.outcomes import DeadlineMissed, FatalInput
from gateway.data_plane.routing.suspects import PAUSE_SECONDS, digest_of
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import World, answer, fail, idle, right, row

DEADLY = 666


def ready(world: World) -> bool:
    return any(worker.ready for worker in world.core.workers.values())


def play(world: World, kind: str = "lost") -> list[str]:
    """Let every call end, in an error where it has the deadly row; returns the workers lost."""
    lost = []
    while world.flying or (world.core.suspects.waiting and ready(world)):
        if not world.flying:
            world.later(PAUSE_SECONDS)
        world.now += 0.001
        for attempt in world.flying:
            if attempt.over:
                continue
            assert sum(a.suspect for a in world.flying if a.worker is attempt.worker) <= 1
            if row(DEADLY) not in attempt.rows:
                world.succeed(attempt)
            elif kind == "lost":
                lost.append(attempt.worker.url)
                fail(world, attempt, WorkerLost, "the worker hung up")
            else:
                vectors = answer(attempt.rows)
                vectors[attempt.rows.index(row(DEADLY))] = memoryview(bytes(16))
                world.core.succeed(attempt, vectors)
            world.turn()
    return lost


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_a_row_that_ends_workers_costs_two_and_nobody_else_anything(world: World, rows: int):
    workers = [world.worker(f"w{number}") for number in range(8)]
    for worker in workers:
        worker.rest_until = world.now + 0.01  # so that they leave in company
    good = [world.submit(3, 3, first=10 * number, organization=f"o{number}") for number in range(9)]
    deadly = world.submit(*[3] * rows, first=DEADLY - rows // 2)
    world.later(0.02)
    assert len(play(world)) == 2
    assert all(right(request) for request in good)
    assert isinstance(deadly.error, FatalInput)
    assert f"input[{rows // 2}]" in deadly.error.message
    assert deadly.error.headers["x-should-retry"] == "false"
    assert sum(worker.state is WorkerState.READY for worker in workers) == 6
    assert idle(world.core)

    calls = len(world.launched)
    again = world.submit(3, 3, first=DEADLY - 1, organization="another")
    assert isinstance(again.error, FatalInput)
    assert "input[1]" in again.error.message
    assert len(world.launched) == calls, "it was sent nowhere"
    innocent = world.submit(3, first=DEADLY + 1)
    world.finish()
    assert right(innocent)
    world.now += world.settings.fatal_input_seconds
    world.submit(3, first=DEADLY)
    assert len(play(world)) == 2, "some minutes later it is tried again"


def test_a_sole_worker_is_lost_twice_at_most(world: World):
    worker = world.worker()
    deadly = world.submit(3, first=DEADLY)
    assert play(world) == ["w1"]
    assert not deadly.finished, "one loss may be a coincidence"
    world.core.quarantine.readmit(worker, "proof", world.now)
    world.later(0.1)
    assert play(world) == ["w1"]
    assert isinstance(deadly.error, FatalInput)


@pytest.mark.parametrize(("rows", "lost"), [(1, 2), (5, 3)])
def test_one_that_ends_workers_slowly_is_doubled_first(world: World, rows: int, lost: int):
    for number in range(8):
        world.worker(f"w{number}")
    deadly = world.submit(*[3] * rows, first=DEADLY)
    world.later(0.3)
    assert len(world.flying) == 2
    assert len(play(world)) == lost
    assert isinstance(deadly.error, FatalInput)


def test_the_last_worker_never_gets_a_row_that_may_have_cost_two(world: World):
    """A call and its double were both lost: which of their rows it was, nobody knows."""
    first, *_ = [world.worker(f"w{number}") for number in range(3)]
    first.rest_until = world.now
    suspected = [world.submit(3, first=number, turn=False) for number in (DEADLY, 1, 2)]
    world.turn()
    world.later(0.3)
    assert [len(attempt.shards) for attempt in world.flying] == [3, 3]
    for attempt in world.flying:
        fail(world, attempt, WorkerLost, "killed")
    world.later(PAUSE_SECONDS)
    assert not world.flying
    innocent = world.submit(3, first=5)
    world.finish()
    assert right(innocent), "the last worker serves what is not suspected"

    away = [worker for worker in world.core.workers.values() if not worker.ready]
    world.core.quarantine.readmit(away[0], "proof", world.now)
    world.later(0.1)
    assert len(play(world)) == 1
    assert [type(request.error) for request in suspected] == [FatalInput, type(None), type(None)]
    assert all(right(request) for request in suspected[1:])


def test_what_waits_for_a_second_worker_ends_with_its_request(world: World):
    for number in range(3):
        world.worker(f"w{number}")
    suspected = world.submit(3, 3, seconds=5.0)
    world.later(0.3)
    for attempt in world.flying:
        fail(world, attempt, WorkerLost, "killed")
    world.later(PAUSE_SECONDS)
    assert world.core.suspects.waiting
    assert not world.flying
    world.later(5.0)
    assert isinstance(suspected.error, DeadlineMissed)
    assert not world.core.suspects.waiting
    assert idle(world.core)


def test_who_waits_for_a_second_worker_does_not_hold_up_other_suspects(world: World):
    one, two, three = [world.worker(f"w{number}") for number in range(3)]
    doubled = world.submit(3, 3)
    world.later(0.3)
    for attempt in world.flying:
        fail(world, attempt, WorkerLost, "killed")
    world.later(PAUSE_SECONDS)
    (last,) = [worker for worker in (one, two, three) if worker.ready]
    once = world.submit(3, first=5)
    fail(world, world.flying[0], WorkerLost, "killed")
    world.core.quarantine.readmit(last, "proof", world.now)
    world.later(PAUSE_SECONDS)
    world.finish()
    assert right(once)
    assert not doubled.finished


def test_an_answer_bears_a_shard_out_for_good(world: World):
    """Even if another revision serves then, and it has to be computed again."""
    for url in ("w1", "w2"):
        world.worker(url)
    request = world.submit(4000, 4000)
    first = world.flying[0]
    world.later(0.3)  # both are doubled
    fail(world, first, WorkerLost, "killed")
    (double,) = [a for a in world.flying if a.shards == first.shards]
    assert double.shards[0].losses == 1
    world.succeed(double)
    assert double.shards[0].losses == 0
    world.finish()
    assert right(request)


def test_what_was_with_it_when_its_worker_was_lost_is_borne_out(world: World):
    one, _ = world.worker("w1"), world.worker("w2")
    requests = [world.submit(2000, first=number) for number in range(8)]
    held = [attempt for attempt in world.flying if attempt.worker is one]
    assert len(held) > 1
    fail(world, held[0], WorkerLost, "killed")
    assert all(shard.losses == 1 for attempt in held for shard in attempt.shards)
    assert play(world) == []
    assert all(right(request) for request in requests)


def test_workers_that_are_ended_at_one_moment_accuse_no_row(world: World):
    for url in ("w1", "w2", "w3", "w4"):
        world.worker(url)
    request = world.submit(3)
    fail(world, world.flying[0], WorkerLost, "killed")
    for url in ("w2", "w3"):
        world.later(PAUSE_SECONDS / 3)
        worker = world.core.workers[url]
        world.core.membership.failed(worker, WorkerUnreachable(url, "refused"), world.now)
        assert not world.flying, "it waits until all are known to be gone"
    assert play(world) == []
    assert right(request)


def test_a_worker_that_was_never_reached_accuses_no_row(world: World):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    request = world.submit(3)
    for _ in range(2):
        fail(world, world.flying[0], WorkerUnreachable, "refused")
    world.finish()
    assert right(request)


def test_a_worker_that_is_found_gone_was_lost_with_what_it_had(world: World):
    """A call that is refused may be heard of before those that were cut off."""
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    requests = [world.submit(2000, first=number) for number in range(12)]
    one = world.flying[0].worker
    had, refused, later = [attempt for attempt in world.flying if attempt.worker is one][:3]
    fail(world, refused, WorkerUnreachable, "refused")
    assert [a.shards[0].losses for a in (had, refused, later)] == [1, 0, 0]
    assert play(world) == []
    assert all(right(request) for request in requests)


def test_an_examination_that_finds_a_worker_gone_accuses_what_it_had(world: World):
    """Idle connections tell of its end before those with a call do."""
    one, _ = world.worker("w1"), world.worker("w2")
    requests = [world.submit(2000, first=number) for number in range(4)]
    had = [attempt for attempt in world.flying if attempt.worker is one]
    world.now += 0.001
    world.core.membership.asking(one, world.now)
    requests += [world.submit(2000, first=number) for number in range(4, 8)]
    later = [attempt for attempt in world.flying if attempt.worker is one][len(had) :]
    assert had
    assert later
    world.core.membership.failed(one, WorkerUnreachable("w1", "refused"), world.now)
    assert {attempt.shards[0].losses for attempt in had} == {1}
    assert {attempt.shards[0].losses for attempt in later} == {0}
    assert play(world) == []
    assert all(right(request) for request in requests)


def test_a_worker_that_answers_what_is_wrong_was_not_lost(world: World):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    for number in range(12):
        world.submit(2000, first=number)
    one = world.flying[0].worker
    had, wrong = [attempt for attempt in world.flying if attempt.worker is one][:2]
    fail(world, wrong, InvalidAnswer, "NaN")
    assert one.state is WorkerState.QUARANTINED
    assert had.over
    assert had.shards[0].losses == 0


def test_a_suspected_row_is_not_doubled(world: World):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    request = world.submit(3)
    fail(world, world.flying[0], WorkerLost, "killed")
    world.later(PAUSE_SECONDS)
    world.later(0.4)
    assert len(world.flying) == 1
    world.finish()
    assert right(request)


def test_as_many_suspects_are_tried_at_once_as_there_are_workers(world: World):
    for number in range(3):
        world.worker(f"w{number}")
    world.submit(*[3] * 40)
    fail(world, world.flying[0], WorkerLost, "killed")
    world.later(PAUSE_SECONDS)
    assert len(world.core.suspects.out) == 3


def test_suspects_whose_client_left_make_room(world: World):
    world.worker("w1")
    world.worker("w2")
    gone = world.submit(*[3] * 40)
    fail(world, world.flying[0], WorkerLost, "killed")
    world.core.cancel(gone)
    assert not world.flying
    assert not world.core.suspects.waiting
    assert not world.core.suspects.out
    assert idle(world.core)


def test_a_row_without_a_vector_takes_one_worker_out_and_is_refused_then(world: World):
    workers = [world.worker(f"w{number}") for number in range(4)]
    for worker in workers:
        worker.rest_until = world.now + 0.01
    good = [world.submit(3, first=number) for number in range(5)]
    bad = world.submit(3, 3, first=DEADLY)
    world.later(0.02)
    play(world, "invalid")
    assert all(right(request) for request in good)
    assert isinstance(bad.error, FatalInput)
    assert sum(worker.ready for worker in workers) == 3
    assert {worker for worker in workers if worker.ready} <= set(world.suspects), "canaries decide"
    assert isinstance(world.submit(3, first=DEADLY).error, FatalInput)
    world.submit(3, first=DEADLY + 1)
    assert world.flying, "its neighbor is served"


def test_few_digests_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(suspects, "_REFUSED_MAX", 2)
    world.worker()
    for number in range(3):
        request = world.submit(3, first=number)
        shard = request.shards[0]
        world.core.suspects.condemn(shard)
        world.finish()
    assert list(world.core.suspects.refused) == [digest_of(row(1)), digest_of(row(2))]
