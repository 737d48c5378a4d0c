"""Rows that a worker refuses, or can't read: whose fault it is, and who is asked instead."""

import pytest

from backends.protocol import (
    BackendError,
    BeyondWorker,
    OutOfResources,
    RequestRefused,
    WorkerBusy,
    WorkerFailed,
    WorkerTimeout,
)
from gateway.data_plane.routing.outcomes import (
    AllAttemptsFailed,
    NoWorker,
    RowsRefused,
    RowsUnsuited,
)
from gateway.data_plane.routing.quarantine import NotReady
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import INFO, fail, right


def test_a_refused_row_in_company_is_found_by_sending_each_alone(world):
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
    assert worker.state is WorkerState.READY


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
        assert bad.state is WorkerState.READY
        good.rest_until = world.now + 0.01
        request = world.submit(3, first=number)
        fail(world, world.flying[0], RequestRefused, "400")
        world.later(0.02)
        world.finish()
        assert right(request)
    assert bad.state is WorkerState.QUARANTINED
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
    world.core.membership.add("ids", world.now)
    request = world.submit(3)
    while world.flying:
        fail(world, world.flying[0], BeyondWorker, "no text")
    assert isinstance(request.error, NoWorker)


def test_a_worker_that_refuses_what_it_must_be_able_to_do_is_out(world):
    bad = world.worker("bad")
    world.worker("good")
    world.core.membership.failed(bad, RequestRefused("bad", "400"), world.now)
    assert bad.state is WorkerState.QUARANTINED


FAILURES = [
    RequestRefused("w1", "why"),
    WorkerFailed("w1", "why"),
    WorkerTimeout("w1", "why"),
    NotReady("w1", "why"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("size", [1, 3])
def test_the_last_worker_is_out_too_once_it_failed_three_examinations_in_a_row(
    world, error: BackendError, size: int
):
    membership, workers = world.core.membership, [world.worker(f"w{n}") for n in range(size)]
    world.now += 10.0  # none has answered for a while
    for _ in range(2):
        assert any(worker.ready for worker in workers)
        for worker in workers:
            membership.failed(worker, error, world.now)
        assert all("why" in worker.reason for worker in workers), "operators read why"
        assert all(membership.seconds_to_examination(w, world.now) < 1 for w in workers)
    for worker in workers:
        membership.failed(worker, error, world.now)
        assert worker.state is WorkerState.QUARANTINED
    membership.examined(workers[0], INFO, None, "proof", world.now)
    assert workers[0].ready, "one good canary is enough while nobody serves"
    assert workers[0].failures == 0


def test_what_may_be_our_own_doing_never_takes_the_last_worker_out(world):
    worker = world.worker()
    world.lag = 0.3
    for error in (WorkerTimeout("w1", "late"), WorkerBusy("w1", "429"), OutOfResources("w1", "")):
        for _ in range(5):
            world.core.membership.failed(worker, error, world.now)
    assert worker.state is WorkerState.READY
    assert worker.failures == 0


def test_clients_errors_alone_never_take_the_last_worker_out(world):
    worker = world.worker()
    for error in (RequestRefused, WorkerFailed, WorkerTimeout):
        for number in range(20):
            world.submit(3, first=number)
            while world.flying:
                fail(world, world.flying[0], error)
    assert worker.state is WorkerState.READY


@pytest.mark.parametrize("good", ["answer", "canary"])
def test_a_good_answer_outweighs_failed_canaries(world, good: str):
    worker = world.worker()
    for _ in range(5):
        for _ in range(2):
            world.core.membership.failed(worker, RequestRefused("w1", "400"), world.now)
            world.core.membership.examined(worker, INFO, None, None, world.now)
            assert worker.reason.startswith("kept"), "that it says what it is proves nothing"
        if good == "answer":
            world.submit(3)
            world.finish()
        else:
            world.core.membership.examined(worker, INFO, None, "proof", world.now)
            assert worker.reason == "proved itself"
    assert worker.state is WorkerState.READY


def test_who_can_not_take_a_canary_is_not_blamed_for_it(world):
    worker = world.worker()
    for _ in range(5):
        world.core.membership.failed(worker, BeyondWorker("w1", "no text"), world.now)
    assert worker.state is WorkerState.READY


def test_to_be_asked_what_it_is_brings_no_worker_back(world):
    world.worker("other")
    worker = world.worker()
    world.core.quarantine.take_out(worker, "nan", world.now, hard=True)
    for _ in range(3):
        world.core.membership.examined(worker, INFO, None, None, world.now)
    assert worker.state is WorkerState.QUARANTINED
    assert worker.passes == 0


def test_a_refusal_is_our_mistake_unless_canaries_are_refused_too(world):
    worker = world.worker()
    request = world.submit(3)
    fail(world, world.flying[0], RequestRefused, "400")
    assert isinstance(request.error, RowsRefused)
    world.worker("text")
    world.core.membership.failed(worker, RequestRefused("w1", "400"), world.now)
    world.core.quarantine.readmit(worker, "kept, say", world.now)
    worker.failures = 1
    request = world.submit(3)
    while world.flying:
        sick = world.flying[0].worker is worker
        fail(world, world.flying[0], RequestRefused if sick else BeyondWorker, "400")
    assert isinstance(request.error, AllAttemptsFailed)


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
