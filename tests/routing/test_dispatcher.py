"""What the core does with requests, answers and errors, one case at a time."""

from functools import partial

import msgspec
import pytest

from backends.protocol import (
    BeyondWorker,
    RequestRefused,
    WorkerBusy,
    WorkerFailed,
    WorkerTimeout,
    WorkerUnreachable,
)
from gateway.data_plane.routing.outcomes import (
    AllAttemptsFailed,
    DeadlineMissed,
    NoWorker,
    RowsRefused,
    RowsUnsuited,
    Shed,
)
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import State
from tests.routing.world import INFO, LINE, World, right

REVISED = partial(msgspec.structs.replace, INFO)


@pytest.fixture
def world() -> World:
    return World()


def fail(world, attempt, error=WorkerFailed, reason="500"):
    world.core.fail(attempt, error(attempt.worker.url, reason))


def test_each_row_gets_its_own_vector_though_shards_come_home_out_of_order(world):
    world.worker("w1")
    world.worker("w2")
    request = world.submit(*[3000] * 6)
    assert len(world.flying) > 1
    while world.flying:
        world.succeed(world.flying[-1])
    assert request.error is None
    assert right(request)


def test_what_queues_while_calls_are_in_flight_leaves_together(world):
    world.worker()
    requests = [world.submit(3, first=number) for number in range(20)]
    assert len(world.flying) == world.settings.calls_eager
    world.succeed(world.flying[0])
    assert len(world.flying[-1].shards) == 18
    world.finish()
    assert all(right(request) for request in requests)


def test_the_window_bounds_what_a_worker_holds_and_is_shared_by_the_gateways():
    for gateways in (1, 2, 4):
        world = World(gateways=gateways)
        worker = world.worker()
        world.submit(*[2048] * 100)
        assert worker.tokens <= world.settings.window_tokens / gateways
        assert worker.tokens > world.settings.window_tokens / gateways - 2 * 4096


def test_a_worker_never_has_more_calls_than_its_client_has_connections():
    world = World(RoutingSettings(window_tokens=10**6, window_seconds_max=99))
    worker = world.worker()
    for number in range(50):
        world.submit(4000, organization=f"org{number}")
    assert worker.calls == world.settings.calls_max < 16


def test_an_idle_worker_is_better_than_a_slow_one(world):
    fast, slow = world.worker("fast"), world.worker("slow")
    slow.speed.assume(20.0, world.now)
    for _ in range(4):
        world.submit(4096)
    assert {attempt.worker for attempt in world.flying} == {fast}


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
    assert worker.state is State.READY
    assert worker.faults_in_row == 0


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
    assert worker.state is State.QUARANTINED
    assert "length 0" in worker.reason
    assert not request.finished
    assert request.vectors == [None]


def test_what_a_quarantined_worker_has_in_hand_is_taken_back(world):
    bad, good = world.worker("bad"), world.worker("good")
    requests = [world.submit(3, first=number) for number in range(4)]
    first, *others = [a for a in world.flying if a.worker is bad]
    fail(world, first, WorkerUnreachable, "refused")
    assert bad.state is State.QUARANTINED
    assert others == world.abandoned
    assert bad.tokens == bad.calls == 0
    world.finish()
    assert all(right(request) for request in requests)
    assert good.state is State.READY


def test_soft_faults_leave_half_of_the_workers_in(world):
    workers = [world.worker(f"w{number}") for number in range(4)]
    for worker in workers:
        for _ in range(5):
            error = WorkerFailed(worker.url, "500")
            world.core.roster.failed(worker, error, world.now)
    assert sum(worker.state is State.READY for worker in workers) == 2


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


def test_our_own_late_loop_lengthens_every_leash(world):
    worker = world.worker()
    world.lag = 0.1
    assert world.core._placement.timeout(worker, 100, world.now) == pytest.approx(2.5)


def test_a_refused_row_in_company_is_found_by_sending_each_alone(world):
    world.settings = None
    worker = world.worker()
    worker.rest_until = world.now + 0.01
    good, bad = world.submit(3), world.submit(3, first=666)
    world.later(0.02)
    fail(world, world.flying[0], RequestRefused, "400")
    while world.flying:
        attempt = world.flying[0]
        assert len(attempt.shards) == 1
        if attempt.shards[0].request is bad:
            fail(world, attempt, RequestRefused, "400")
        else:
            world.succeed(attempt)
    assert right(good)
    assert isinstance(bad.error, RowsRefused)
    assert worker.state is State.READY


def test_what_one_worker_refuses_another_serves_and_the_refuser_is_accused(world):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    request = world.submit(3)
    refuser = world.flying[0].worker
    fail(world, world.flying[0], RequestRefused, "400")
    assert not request.finished
    assert refuser in world.suspects
    assert refuser.faults_in_row == 0, "it may be our mistake"
    world.finish()
    assert right(request)
    assert refuser.faults_in_row == 1, "it was not"


def test_a_worker_that_refuses_everything_is_out_after_three(world):
    good, bad = world.worker("good"), world.worker("bad")
    for number in range(3):
        assert bad.state is State.READY
        good.rest_until = world.now + 0.01
        request = world.submit(3, first=number)
        fail(world, world.flying[0], RequestRefused, "400")
        world.later(0.02)
        world.finish()
        assert right(request)
    assert bad.state is State.QUARANTINED
    assert world.core.counts["AllAttemptsFailed"] == world.core.counts["RowsRefused"] == 0


def test_rows_are_refused_when_each_ready_worker_refused_them_once(world):
    workers = [world.worker(f"w{number}") for number in range(3)]
    request = world.submit(3)
    asked = []
    while world.flying:
        asked.append(world.flying[0].worker)
        fail(world, world.flying[0], RequestRefused, "400")
    assert sorted(worker.url for worker in asked) == ["w0", "w1", "w2"]
    assert isinstance(request.error, RowsRefused)
    assert isinstance(request.error.__cause__, RequestRefused)
    assert all(worker.faults_in_row == 0 for worker in workers)


def test_a_refusal_and_a_failure_come_to_an_end(world):
    one, other = world.worker("w1"), world.worker("w2")
    one.faults_in_row = other.faults_in_row = -10
    request = world.submit(3)
    refuser = world.flying[0].worker
    while world.flying:
        attempt = world.flying[0]
        fail(world, attempt, RequestRefused if attempt.worker is refuser else WorkerFailed)
    assert isinstance(request.error, AllAttemptsFailed)
    assert world.core.counts["error_RequestRefused"] == 1


def test_a_lone_refusal_proves_nothing_while_another_worker_may_come_back(world):
    away, refuser = world.worker("away"), world.worker("refuser")
    world.core.quarantine.take_out(away, "reset", world.now, hard=True)
    request = world.submit(3)
    fail(world, world.flying[0], RequestRefused, "400")
    assert isinstance(request.error, NoWorker)
    assert isinstance(request.error.__cause__, RequestRefused)
    assert refuser in world.suspects


def test_what_a_text_engine_can_not_say_goes_to_one_that_reads_ids(world):
    for url in ("text1", "text2"):
        world.worker(url)
    world.worker("ids").rest_until = world.now + 0.01
    request = world.submit(3)
    fail(world, world.flying[0], BeyondWorker, "no text")
    fail(world, world.flying[0], BeyondWorker, "no text")
    world.later(0.02)
    world.finish()
    assert right(request)
    assert not world.suspects, "that is no fault"
    assert all(worker.faults_in_row == 0 for worker in world.core.workers.values())


def test_rows_beyond_every_worker_are_refused(world):
    world.worker("text1")
    world.worker("text2")
    request = world.submit(3)
    while world.flying:
        fail(world, world.flying[0], BeyondWorker, "no text")
    assert isinstance(request.error, RowsUnsuited)


def test_rows_beyond_the_ready_workers_may_wait_for_another(world):
    world.worker("text1")
    world.worker("text2")
    world.core.roster.add("ids", world.now)
    request = world.submit(3)
    while world.flying:
        fail(world, world.flying[0], BeyondWorker, "no text")
    assert isinstance(request.error, NoWorker)


def test_a_worker_that_refuses_what_it_must_be_able_to_do_is_out(world):
    bad = world.worker("bad")
    world.worker("good")
    world.core.roster.failed(bad, RequestRefused("bad", "400"), world.now)
    assert bad.state is State.QUARANTINED


def test_the_last_worker_is_out_too_once_it_refused_three_canaries_in_a_row(world):
    worker = world.worker()
    refused = RequestRefused("w1", "400")
    for _ in range(2):
        assert worker.state is State.READY
        world.core.roster.failed(worker, refused, world.now)
    assert worker.reason.startswith("kept, for too few are left"), "operators read why"
    world.core.roster.failed(worker, refused, world.now)
    assert worker.state is State.QUARANTINED
    assert "400" in worker.reason
    for _ in range(2):
        world.core.roster.examined(worker, INFO, None, "proof", world.now)
    assert worker.state is State.READY
    assert worker.refusals == 0


@pytest.mark.parametrize("good", ["answer", "canary"])
def test_a_good_answer_outweighs_the_canaries_that_were_refused(world, good: str):
    worker = world.worker()
    for _ in range(5):
        for _ in range(2):
            world.core.roster.failed(worker, RequestRefused("w1", "400"), world.now)
            world.core.roster.examined(worker, INFO, None, None, world.now)
            assert worker.reason.startswith("kept"), "that it says what it is proves nothing"
        if good == "answer":
            world.submit(3)
            world.finish()
        else:
            world.core.roster.examined(worker, INFO, None, "proof", world.now)
            assert worker.reason == "proved itself"
    assert worker.state is State.READY


def test_who_can_not_take_a_canary_is_not_blamed_for_it(world):
    worker = world.worker()
    for _ in range(5):
        world.core.roster.failed(worker, BeyondWorker("w1", "no text"), world.now)
    assert worker.state is State.READY


def test_to_be_asked_what_it_is_brings_no_worker_back(world):
    world.worker("other")
    worker = world.worker()
    world.core.quarantine.take_out(worker, "nan", world.now, hard=True)
    for _ in range(3):
        world.core.roster.examined(worker, INFO, None, None, world.now)
    assert worker.state is State.QUARANTINED
    assert worker.passes == 0


def test_a_refusal_is_our_mistake_unless_canaries_are_refused_too(world):
    worker = world.worker()
    request = world.submit(3)
    fail(world, world.flying[0], RequestRefused, "400")
    assert isinstance(request.error, RowsRefused)
    world.worker("text")
    world.core.roster.failed(worker, RequestRefused("w1", "400"), world.now)
    world.core.quarantine.readmit(worker, "kept, say", world.now)
    worker.refusals = 1
    request = world.submit(3)
    while world.flying:
        sick = world.flying[0].worker is worker
        fail(world, world.flying[0], RequestRefused if sick else BeyondWorker, "400")
    assert isinstance(request.error, AllAttemptsFailed)


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
    world = World(RoutingSettings(hedge_share=0.02, split_tokens=100))
    world.worker("w1")
    for number in range(2):
        world.submit(60, first=number)
    for url in ("w2", "w3"):
        world.worker(url)
    world.later(0.3)
    assert world.core.counts["hedges"] == 1


def test_a_client_that_leaves_closes_its_calls(world):
    worker = world.worker()
    request, other = world.submit(*[4000] * 9), world.submit(3, first=99)
    world.core.cancel(request)
    world.core.cancel(request)
    assert {attempt.shards[0].request for attempt in world.flying} <= {other}
    world.finish()
    assert request not in world.resolved
    assert right(other)
    assert worker.tokens == 0
    assert world.core.idle


def test_a_coalesced_call_goes_on_while_one_client_waits(world):
    worker = world.worker()
    worker.rest_until = world.now + 0.01
    leaves, stays = world.submit(3), world.submit(3, first=9)
    world.later(0.02)
    world.core.cancel(leaves)
    assert not world.abandoned
    world.finish()
    assert right(stays)


def test_a_deadline_ends_a_request_wherever_it_is(world):
    world.worker()
    flying, queued = world.submit(4000, seconds=1), world.submit(*[4000] * 20, seconds=1)
    world.later(1.1)
    assert isinstance(flying.error, DeadlineMissed)
    assert isinstance(queued.error, DeadlineMissed)
    assert world.core.idle


def test_without_a_worker_a_request_is_held_then_told_when_to_return(world):
    held, patient = world.submit(3, hold_seconds=5), world.submit(3, first=9, hold_seconds=20)
    world.later(5.1)
    assert isinstance(held.error, NoWorker)
    assert 1 <= held.error.retry_after_seconds <= 60
    assert not patient.finished
    world.worker()
    world.finish()
    assert right(patient)


def test_who_waited_for_a_worker_until_the_deadline_is_told_when_to_return(world):
    waits = world.submit(3, seconds=30, hold_seconds=30)
    world.later(30.1)
    assert isinstance(waits.error, NoWorker)


def test_who_had_a_worker_until_the_deadline_ran_out_of_time(world):
    worker = world.worker()
    begun = world.submit(3, seconds=1)
    world.core.roster.drain(worker, "by hand", world.now)
    world.later(1.1)
    assert isinstance(begun.error, DeadlineMissed)


def test_two_revisions_never_serve_one_pool(world):
    world.worker("w1")
    other = REVISED(revision="2")
    late = world.worker("w2", info=other)
    assert late.state is State.WARMING
    assert "serves revision 2" in late.reason
    world.core.roster.remove(world.core.workers["w1"], world.now)
    world.core.roster.examined(late, other, LINE, "proof", world.now)
    assert late.state is State.READY


def test_an_answer_is_never_made_of_two_revisions(world):
    first = world.worker("w1")
    request = world.submit(*[4000] * 8)
    world.succeed(world.flying[0])
    assert request.revision == "one"
    for attempt in world.flying:
        fail(world, attempt, WorkerUnreachable, "refused")
    world.core.roster.remove(first, world.now)
    other = REVISED(revision="2")
    world.worker("w2", info=other)
    assert request.missing == 8, "it begins again"
    world.finish()
    assert request.revision == "2"
    assert right(request)


def test_two_late_answers_of_two_revisions_are_not_mixed(world):
    first = world.worker("w1")
    request = world.submit(*[4000] * 8)
    early = world.flying[0]
    world.core.roster.remove(first, world.now)
    second = world.worker("w2", info=REVISED(revision="2"))
    late = world.flying[-1]
    assert late.worker is second
    world.core.roster.remove(second, world.now)
    world.succeed(early)
    assert request.revision == "one"
    world.succeed(late)
    assert request.revision == "one"
    world.worker("w3", info=REVISED(revision="2"))
    world.finish()
    assert request.revision == "2"
    assert right(request)


@pytest.mark.parametrize("how", ["dead", "drained"])
def test_the_dead_do_not_keep_another_revision_out(world, how):
    old, other = world.worker("old"), REVISED(revision="2")
    if how == "dead":
        world.core.quarantine.take_out(old, "nothing listens", world.now, hard=True)
    else:
        world.core.roster.drain(old, "by hand", world.now)
    request = world.submit(3)
    new = world.worker("new", info=other)
    grace = world.settings.revision_grace_seconds
    for seconds, state in ((grace - 0.1, State.WARMING), (0.1, State.READY)):
        assert new.state is State.WARMING
        world.now += seconds
        world.core.roster.examined(new, other, LINE, "proof", world.now)
        assert new.state is state
    world.finish()
    assert right(request)
    assert request.revision == "2"
    world.core.roster.undrain(old, world.now)
    world.core.roster.examined(old, INFO, LINE, "proof", world.now)
    assert old.state is State.WARMING, "now the new one has the pool"


def test_a_revision_that_comes_back_in_time_keeps_its_pool(world):
    old, other = world.worker("old"), REVISED(revision="2")
    world.core.quarantine.take_out(old, "reset", world.now, hard=True)
    new = world.worker("new", info=other)
    for _ in range(world.settings.passes_min):
        world.core.roster.examined(old, INFO, None, "proof", world.now)
    world.core.quarantine.take_out(old, "reset again", world.now, hard=True)
    world.now += world.settings.revision_grace_seconds
    world.core.roster.examined(new, other, LINE, "proof", world.now)
    assert new.state is State.WARMING


def test_a_drained_worker_finishes_and_gets_nothing_new(world):
    worker = world.worker()
    request = world.submit(3)
    world.core.roster.drain(worker, "by hand", world.now)
    later = world.submit(3, first=9)
    assert len(world.flying) == 1
    world.finish()
    assert right(request)
    assert not later.finished
    world.core.roster.undrain(worker, world.now)
    world.core.roster.examined(worker, INFO, None, "proof", world.now)
    world.finish()
    assert right(later)


def test_a_request_of_no_rows_is_served_at_once(world):
    request = world.submit()
    assert world.resolved == [request]
    assert request.error is None


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
    assert slow.state is State.READY, "our own loop was late"
    world.lag = 0.0
    world.succeed(first)
    assert slow.state is State.QUARANTINED
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


def test_what_can_not_be_done_in_the_time_left_is_not_begun(world):
    world.worker()
    request, timely = world.submit(4000, seconds=0.02), world.submit(4000, seconds=0.5)
    assert isinstance(request.error, DeadlineMissed)
    assert [attempt.shards[0].request for attempt in world.launched] == [timely]


def test_company_makes_nobody_late(world):
    worker = world.worker()
    worker.rest_until = world.now + 0.01
    urgent = world.submit(3, seconds=0.03, organization="urgent")
    large = world.submit(3000, first=9, organization="large")
    world.later(0.01)
    assert [attempt.shards[0].request for attempt in world.flying] == [urgent, large]


def test_a_shard_that_no_worker_can_take_holds_nobody_up(world):
    world.worker(info=REVISED(batch_tokens_max=5000))
    huge, small = world.submit(8000), world.submit(3, first=9, organization="other")
    world.finish()
    assert right(small)
    world.later(31)
    assert isinstance(huge.error, DeadlineMissed)


def test_a_worker_that_changed_its_revision_is_not_believed(world):
    world.worker("w1")
    changed = world.worker("w2")
    requests = [world.submit(3, first=number) for number in range(4)]
    mine = [attempt for attempt in world.flying if attempt.worker is changed]
    assert mine
    world.core.roster.examined(changed, REVISED(revision="2"), None, "proof", world.now)
    assert changed.state is State.WARMING
    assert world.abandoned == mine
    world.finish()
    assert all(right(request) for request in requests)


def test_a_late_answer_of_a_revision_that_was_replaced_is_not_delivered(world):
    old = world.worker("w1")
    request = world.submit(3)
    late = world.flying[0]
    world.core.roster.remove(old, world.now)
    world.worker("w2", info=REVISED(revision="2"))
    world.succeed(late)
    assert not request.finished
    world.finish()
    assert request.revision == "2"
    assert right(request)


def test_a_client_that_left_is_counted_as_that(world):
    world.worker()
    world.core.cancel(world.submit(3))
    assert world.core.counts["ClientGone"] == 1
    assert world.core.counts["DeadlineMissed"] == 0


def test_a_slow_worker_stays_idle_even_when_the_fast_one_is_full(world):
    world.worker("fast")
    slow = world.worker("slow")
    slow.speed.assume(20.0, world.now)
    request = world.submit(*[4096] * 12)
    assert slow.calls == 0
    world.finish()
    assert right(request)


def test_a_slower_worker_takes_what_the_full_one_could_not_do_in_time(world):
    fast = world.worker("fast")
    slow = world.worker("slow")
    slow.speed.assume(1.4, world.now)
    first = world.submit(*[4096] * 12)
    assert fast.calls
    deadline = 1.2 * slow.predicted(4000, world.now)
    fast.rest_until = world.now + 10  # has no room, and is the fastest all the same
    request = world.submit(4000, first=99, seconds=deadline)
    world.finish()
    assert right(request)
    assert right(first)


def test_what_no_worker_can_do_in_time_ends_at_once(world):
    worker = world.worker()
    world.worker("slower").speed.assume(2.0, world.now)
    request = world.submit(4000, seconds=0.5 * worker.predicted(4000, world.now))
    assert isinstance(request.error, DeadlineMissed)
    assert world.launched == []


def test_what_a_busy_worker_will_do_in_time_waits_for_it(world):
    fast = world.worker("fast")
    slow = world.worker("slow")
    slow.speed.assume(3.0, world.now)
    fast.rest_until = world.now + 0.01
    request = world.submit(4000, seconds=2.0 * fast.predicted(4000, world.now))
    assert not request.finished
    world.later(0.02)
    world.finish()
    assert right(request)


def test_a_suspect_shard_is_given_no_company(world):
    worker = world.worker()
    worker.rest_until = world.now + 0.01
    suspects = [world.submit(3), world.submit(3, first=1)]
    world.later(0.02)
    worker.rest_until = world.now + 0.01
    fresh = world.submit(3, first=9, organization="other")
    fail(world, world.flying[0], RequestRefused, "400")
    world.later(0.02)
    assert [len(attempt.shards) for attempt in world.flying] == [1, 1]
    assert world.flying[0].shards[0].request is fresh
    world.finish()
    assert all(right(request) for request in suspects)


def test_a_call_is_never_doubled_at_the_same_worker(world):
    world.worker()
    world.submit(3)
    world.later(0.4)
    assert len(world.flying) == 1


def test_a_limping_worker_holds_one_call(world):
    worker = world.worker()
    worker.limping = True
    for number in range(5):
        world.submit(4000, first=number)
    assert worker.calls == 1
