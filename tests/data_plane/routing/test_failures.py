"""What fails: who is asked next and how often, who is accused, and what is doubled in time."""

import pytest

from backends.protocol import WorkerBusy, WorkerFailed, WorkerTimeout, WorkerUnreachable
from gateway.data_plane.routing.calls import RetryBudget
from gateway.data_plane.routing.outcomes import AllAttemptsFailed, Shed
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import World, fail, right


def test_a_failed_shard_goes_to_a_worker_that_has_not_tried_it(world):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    request = world.submit(3)
    seen = []
    for _ in range(2):
        attempt = world.flying[0]
        seen.append(attempt.worker.url)
        fail(world, attempt)
    seen.append(world.flying[0].worker.url)
    world.finish()
    assert sorted(seen) == ["w1", "w2", "w3"]
    assert right(request)


def test_a_retry_that_waits_for_one_worker_does_not_hold_up_the_others(world):
    busy, idle = world.worker("busy"), world.worker("idle")
    busy.rest_until = world.now + 1.0
    first = world.submit(3)
    fail(world, world.flying[0])
    assert not world.flying, "its only untried worker rests"
    second = world.submit(3, first=9)
    assert [a.worker for a in world.flying] == [idle]
    world.finish()
    assert right(second)
    assert not first.finished


def test_tries_are_bounded(world):
    for url in ("w1", "w2"):
        world.worker(url).faults_in_row = -10
    request = world.submit(3)
    while world.flying:
        fail(world, world.flying[0])
    assert isinstance(request.error, AllAttemptsFailed)
    assert isinstance(request.error.__cause__, WorkerFailed)
    assert world.core.counts["attempts"] == 4


def test_the_retry_budget_ends():
    world = World(RoutingSettings(retries_max=2, retries_per_second=0))
    for url in ("w1", "w2", "w3", "w4"):
        world.worker(url).faults_in_row = -10
    request = world.submit(3)
    for _ in range(3):
        fail(world, world.flying[0])
    assert isinstance(request.error, AllAttemptsFailed)
    assert "budget" in str(request.error)


def test_answers_fill_the_retry_budget_and_never_above_its_bound():
    budget = RetryBudget(RoutingSettings(retries_max=2, retries_per_second=0), now=0)
    for _ in range(2):
        assert [budget.spend(0) for _ in range(3)] == [True, True, False]
        for _ in range(100):
            budget.earn()


def test_a_failed_call_in_company_costs_one_retry():
    world = World(RoutingSettings(retries_max=1, retries_per_second=0, calls_eager=1))
    for url in ("w1", "w2"):
        world.worker(url).rest_until = world.now + 0.01
    requests = [world.submit(3, first=number) for number in range(20)]
    world.later(0.02)
    assert len(world.flying[0].shards) == 20
    fail(world, world.flying[0])
    world.finish()
    assert all(right(request) for request in requests)


def test_busy_is_no_fault_and_costs_no_try(world):
    worker = world.worker()
    request = world.submit(3)
    for _ in range(10):
        world.core.fail(world.flying[0], WorkerBusy("w1", "429", 0.1))
        assert not world.flying
        world.later(0.11)
    world.finish()
    assert right(request)
    assert worker.state is WorkerState.READY
    assert worker.faults_in_row == 0


def test_a_call_that_the_deadline_cut_does_not_hide_that_all_are_busy(world):
    world.worker()
    request = world.submit(100, seconds=1.0)
    world.core.fail(world.flying[0], WorkerBusy("w1", "429", 0.5))
    world.later(0.9)
    (attempt,) = world.flying
    assert attempt.cut
    fail(world, attempt, WorkerTimeout, "no answer")
    world.later(0.2)
    assert isinstance(request.error, Shed)


def test_when_all_stay_busy_the_end_is_a_shed_with_a_time(world):
    world.worker()
    request = world.submit(3, seconds=1.0)
    world.core.fail(world.flying[0], WorkerBusy("w1", "429", 5.0))
    world.later(1.1)
    assert isinstance(request.error, Shed)
    assert 1 <= request.error.retry_after_seconds <= 60


def test_an_invalid_answer_is_never_delivered_and_takes_even_the_last_worker_out(world):
    worker = world.worker()
    request = world.submit(3)
    world.core.succeed(world.flying[0], [memoryview(bytes(16))])
    assert worker.state is WorkerState.QUARANTINED
    assert "length 0" in worker.reason
    assert not request.finished
    assert request.vectors == [None]


def test_what_a_quarantined_worker_has_in_hand_is_taken_back(world):
    bad, good = world.worker("bad"), world.worker("good")
    requests = [world.submit(3, first=number) for number in range(4)]
    first, *others = [a for a in world.flying if a.worker is bad]
    fail(world, first, WorkerUnreachable, "refused")
    assert bad.state is WorkerState.QUARANTINED
    assert others == world.abandoned
    assert bad.tokens == bad.calls == 0
    world.finish()
    assert all(right(request) for request in requests)
    assert good.state is WorkerState.READY


def test_soft_faults_leave_half_of_the_workers_in(world):
    workers = [world.worker(f"w{number}") for number in range(4)]
    for worker in workers:
        for _ in range(2):
            error = WorkerFailed(worker.url, "500")
            world.core.membership.failed(worker, error, world.now)
    assert sum(worker.state is WorkerState.READY for worker in workers) == 2


def test_a_timeout_accuses_nobody_while_our_own_loop_is_late(world):
    worker = world.worker("w1")
    world.worker("w2").answered_at = world.now
    for lag, faults in ((0.3, 0), (0.0, 1)):
        world.lag = lag
        world.submit(3)
        attempt = next(a for a in world.flying if a.worker is worker)
        fail(world, attempt, WorkerTimeout, "late")
        assert worker.faults_in_row == faults
        assert worker in world.suspects, "but a canary looks at it"
        world.finish()


def test_a_timeout_accuses_nobody_when_no_other_worker_answers(world):
    worker = world.worker("w1")
    world.worker("w2").answered_at = world.now - 2.0
    world.submit(3)
    fail(world, world.flying[0], WorkerTimeout, "late")
    assert worker.faults_in_row == 0


def test_a_sick_worker_does_not_lengthen_its_own_leash(world):
    sick = world.worker("sick")
    world.worker("w2")
    world.worker("w3")
    sick.speed.assume(500.0, world.now)
    assert world.core._placement.timeout(sick, 100, world.now) == pytest.approx(0.5)


def test_a_worker_is_not_slow_because_our_own_loop_is_late(world):
    worker = world.worker()
    world.submit(3)
    world.lag = 1.0
    world.later(0.3)
    world.finish()
    assert worker.speed.samples == 1
    assert worker.speed.slow(world.now) == 1


def test_our_own_late_loop_lengthens_every_leash(world):
    worker = world.worker()
    world.lag = 0.1
    assert world.core._placement.timeout(worker, 100, world.now) == pytest.approx(2.5)


def test_a_row_that_fails_everywhere_accuses_one_worker_only(world):
    workers = [world.worker(f"w{number}") for number in range(3)]
    world.submit(3)
    while world.flying:
        fail(world, world.flying[0])
    assert sum(worker.faults_in_row for worker in workers) == 1


def test_a_call_that_takes_too_long_is_doubled_and_the_first_answer_wins(world):
    world.worker("w1")
    world.worker("w2")
    request = world.submit(3)
    first = world.flying[0]
    world.later(0.3)
    _, second = world.flying
    assert second.worker is not first.worker
    world.succeed(second)
    assert right(request)
    assert world.abandoned == [first]
    assert first.worker in world.suspects, "a hedge hides nothing"
    assert first.worker.speed.slow(world.now) > 2


def test_a_failure_whose_double_still_flies_is_remembered(world):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    request = world.submit(3)
    world.later(0.3)
    first, second = world.flying
    fail(world, first)
    assert not request.finished
    fail(world, second)
    (third,) = world.flying
    assert third.worker not in (first.worker, second.worker)
    assert third.shards[0].tries == 2
    world.finish()
    assert right(request)


def test_doubles_are_bounded_by_a_share_of_the_tokens():
    world = World(RoutingSettings(split_tokens=100))
    world.worker("w1")
    for number in range(2):
        world.submit(60, first=number)
    for url in ("w2", "w3"):
        world.worker(url)
    world.later(0.3)
    assert world.core.counts["hedges"] == 1


def test_a_worker_thrown_out_for_slowness_has_nothing_in_hand(world):
    for url in ("w2", "w3"):
        world.worker(url)
    slow = world.worker("w1")
    request = world.submit(*[4000] * 12)
    first, *others = [attempt for attempt in world.flying if attempt.worker is slow]
    assert others
    for _ in range(9):
        slow.speed.observe(99 * slow.speed.expected(9000), 9000, world.now)
    world.lag = 0.3
    world.succeed(others.pop())
    assert slow.state is WorkerState.READY, "our own loop was late"
    world.lag = 0.0
    world.succeed(first)
    assert slow.state is WorkerState.QUARANTINED
    assert slow.calls == 0
    world.finish()
    assert right(request)


def test_a_deadline_that_cut_a_timeout_short_accuses_nobody(world):
    worker = world.worker("w1")
    world.worker("w2").answered_at = world.now
    world.submit(3, seconds=0.1)
    attempt = world.flying[0]
    assert attempt.timeout_seconds == pytest.approx(0.1)
    fail(world, attempt, WorkerTimeout, "late")
    assert worker.faults_in_row == 0


def test_a_call_is_never_doubled_at_the_same_worker(world):
    world.worker()
    world.submit(3)
    world.later(0.4)
    assert len(world.flying) == 1
