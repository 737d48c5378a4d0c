"""Where the core sends requests, in whose company, and when it gives them up, case by case."""

from backends.protocol import TokenRow
from gateway.data_plane.routing.outcomes import DeadlineMissed, NoWorker
from gateway.data_plane.routing.request import CALL_FLOATS_MAX, Request
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import CALLS_MAX
from tests.data_plane.routing.world import INFO, REVISED, World, idle, right, row

WIDE = 8192
"""Dimensions of a wide vector."""


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


def test_the_requests_of_one_turn_leave_together(world):
    for url in ("w1", "w2"):
        world.worker(url, line=(0.002, 1e-6))
    requests = [world.submit(3, first=number, turn=False) for number in range(20)]
    assert not world.flying
    world.turn()
    assert [len(attempt.shards) for attempt in world.flying] == [20]
    world.finish()
    assert all(right(request) for request in requests)


def test_but_not_in_a_call_of_more_than_a_millisecond_while_a_worker_is_idle(world):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    for number in range(5):
        world.submit(40, first=number, turn=False)
    world.turn()
    assert sorted(len(attempt.shards) for attempt in world.flying) == [1, 2, 2]
    assert len({attempt.worker for attempt in world.flying}) == 3


def gathering(world: World, workers: int = 2) -> list[Request]:
    """One request in flight, and two that came while the loop was busy."""
    for number in range(workers):
        world.worker(str(number))
    first = world.submit(3)
    others = [world.submit(3, first=number, turn=False) for number in (1, 2)]
    world.turn(busy=True)
    assert len(world.flying) == 1
    assert world.core.gathering
    return [first, *others]


def test_while_the_loop_is_busy_requests_gather_until_the_first_call_is_back(world):
    requests = gathering(world)
    world.succeed(world.flying[0])
    assert [len(attempt.shards) for attempt in world.flying] == [2]
    world.finish()
    assert all(right(request) for request in requests)


def test_or_for_a_moment(world):
    gathering(world)
    world.later(0.0009)
    assert len(world.flying) == 1
    world.later(0.0002)
    assert [len(attempt.shards) for attempt in world.flying] == [1, 2]
    assert not world.core.gathering


def test_or_until_it_is_quiet(world):
    gathering(world)
    world.core.pump(quiet=True)
    assert [len(attempt.shards) for attempt in world.flying] == [1, 2]


def test_or_until_they_fill_a_call(world):
    gathering(world)
    world.submit(world.settings.split_tokens, first=9, turn=False)
    world.turn(busy=True)
    assert len(world.flying) > 1
    assert not world.core.gathering


def test_no_request_gathers_while_nothing_is_in_flight(world):
    world.worker()
    world.submit(3, turn=False)
    world.turn(busy=True)
    assert len(world.flying) == 1


def test_the_answer_to_one_of_several_calls_ends_no_gathering(world):
    for url in ("w1", "w2", "w3"):
        world.worker(url)
    for number in range(2):
        world.submit(3, first=number)
    world.submit(3, first=2, turn=False)
    world.turn(busy=True)
    assert len(world.flying) == 2
    world.succeed(world.flying[0])
    assert len(world.flying) == 1
    world.succeed(world.flying[0])
    assert len(world.flying) == 1
    assert world.flying[0].shards[0].request.rows == [row(2)]


def test_calls_and_their_vectors_are_bounded_in_one_turn(world):
    """Each turn of the loop sends so many calls, and is answered with so many numbers."""
    for number in range(40):
        world.worker(f"w{number}", info=REVISED(dimensions=(WIDE,), rows_max=2048))
    made = [TokenRow(row(number).ids, WIDE) for number in range(4000)]
    request = Request(
        organization="org", rows=made, deadline=world.now + 30, resolve=world.resolved.append
    )
    world.core.submit(request)
    most = 0
    while world.due:
        before, world.due = len(world.launched), False
        world.core.pump()
        most = max(most, len(world.launched) - before)
    assert 1 < most <= 16
    assert len(world.launched) > most, "it goes on in the next turn"
    assert max(len(attempt.rows) for attempt in world.launched) == CALL_FLOATS_MAX // WIDE


def test_company_does_not_exceed_the_numbers_of_a_call(world):
    world.worker(line=(0.002, 1e-7), info=REVISED(dimensions=(WIDE,), rows_max=2048))
    for number in range(100):
        made = [TokenRow(row(number).ids, WIDE)]
        request = Request(
            organization="org", rows=made, deadline=world.now + 30, resolve=world.resolved.append
        )
        world.core.submit(request)
    world.turn()
    assert [len(attempt.rows) for attempt in world.flying] == [CALL_FLOATS_MAX // WIDE] * 2


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
    assert worker.calls == CALLS_MAX < 16


def test_an_idle_worker_is_better_than_a_slow_one(world):
    fast, slow = world.worker("fast"), world.worker("slow")
    slow.speed.assume(20.0, world.now)
    for _ in range(4):
        world.submit(4096)
    assert {attempt.worker for attempt in world.flying} == {fast}


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
    assert idle(world.core)


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
    assert idle(world.core)


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
    world.core.membership.drain(worker, "by hand", world.now)
    world.later(1.1)
    assert isinstance(begun.error, DeadlineMissed)


def test_what_a_drained_worker_has_in_hand_is_taken_back_when_it_must_prove_itself_again(world):
    first = world.worker("w1")
    request = world.submit(3)
    (attempt,) = world.flying
    world.core.membership.drain(first, "by hand", world.now)
    world.worker("w2")
    world.turn()
    assert world.flying == [attempt]
    world.core.membership.undrain(first, world.now)
    world.turn()
    assert attempt.over
    (shard,) = attempt.shards
    assert first in shard.tried  # which goes elsewhere first
    assert [one.worker.url for one in world.flying] == ["w2"]
    world.finish()
    assert right(request)


def test_a_call_takes_the_worker_s_last_row(world):
    world.worker("w1", info=REVISED(rows_max=3))
    world.submit(3, first=9)
    for number in range(3):
        world.submit(3, first=number, turn=False)
    world.turn(busy=True)
    world.succeed(world.flying[0])
    assert max(len(attempt.rows) for attempt in world.launched) == 3
    world.finish()


def test_a_drained_worker_finishes_and_gets_nothing_new(world):
    worker = world.worker()
    request = world.submit(3)
    world.core.membership.drain(worker, "by hand", world.now)
    later = world.submit(3, first=9)
    assert len(world.flying) == 1
    world.finish()
    assert right(request)
    assert not later.finished
    world.core.membership.undrain(worker, world.now)
    world.core.membership.examined(worker, INFO, None, "proof", world.now)
    world.finish()
    assert right(later)


def test_a_request_of_no_rows_is_served_at_once(world):
    request = world.submit()
    assert world.resolved == [request]
    assert request.error is None


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


def test_a_limping_worker_holds_one_call(world):
    worker = world.worker()
    worker.limping = True
    for number in range(5):
        world.submit(4000, first=number)
    assert worker.calls == 1
