"""What is promised can be kept; what can't is refused at once, with a time to return."""

import pytest

from gateway.data_plane.routing.admission import Offer
from gateway.data_plane.routing.outcomes import NoWorker, Shed
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import LINE, World, idle

RATE = 1 / LINE[1]


def offer(world, tokens=100, *, seconds=10.0, organization="new", hold=15.0) -> Offer:
    return Offer(organization, tokens, world.now + seconds, hold_seconds=hold)


def test_an_idle_pool_takes_what_it_can_finish(world):
    world.worker()
    world.core.admit(offer(world, int(8 * RATE), seconds=10))
    with pytest.raises(Shed) as caught:
        world.core.admit(offer(world, int(12 * RATE), seconds=10))
    assert caught.value.code == "would_miss_deadline"
    assert caught.value.retry_after_seconds == pytest.approx(12 - 9, abs=0.1)


def test_it_takes_note_of_nothing(world):
    world.worker()
    for _ in range(100):
        world.core.admit(offer(world, int(8 * RATE)))
    assert idle(world.core)


def test_retry_after_is_between_a_second_and_a_minute(world):
    world.worker()
    for seconds, expected in ((0.1, 1.0), (1e-9, 1.0)):
        with pytest.raises(Shed) as caught:
            world.core.admit(offer(world, int(0.5 * RATE), seconds=seconds))
        assert caught.value.retry_after_seconds == expected
    with pytest.raises(Shed) as caught:
        world.core.admit(offer(world, int(10_000 * RATE)))
    assert caught.value.retry_after_seconds == 60.0


def flood(world, seconds, organization="flooder"):
    tokens = int(seconds * RATE)
    world.submit(*[4000] * (tokens // 4000), organization=organization, seconds=600)


def test_a_flood_does_not_shut_the_others_out(world):
    world.worker()
    flood(world, 25)
    world.core.admit(offer(world, seconds=2.0))


def test_one_organization_can_not_fill_the_pool(world):
    world.worker()
    flood(world, 31)
    with pytest.raises(Shed) as caught:
        world.core.admit(offer(world, organization="flooder", seconds=600))
    assert caught.value.code == "organization_full"


def test_a_full_pool_takes_no_more(world):
    world.worker()
    for name in ("a", "b", "c"):
        flood(world, 22, name)
    with pytest.raises(Shed) as caught:
        world.core.admit(offer(world, seconds=600))
    assert caught.value.code == "pool_full"


def test_the_number_of_requests_is_bounded():
    world = World(RoutingSettings(requests_max=3))
    world.worker()
    for number in range(3):
        world.submit(3, first=number)
    with pytest.raises(Shed):
        world.core.admit(offer(world))


def test_the_tokens_that_wait_are_bounded_even_without_a_worker():
    world = World(RoutingSettings(backlog_tokens_max=1000))
    world.submit(900)
    with pytest.raises(Shed):
        world.core.admit(offer(world, 200))


def test_without_a_worker_it_depends_on_the_wish_to_wait(world):
    world.core.admit(offer(world, hold=5))
    with pytest.raises(NoWorker):
        world.core.admit(offer(world, hold=0))


def test_what_is_held_without_a_worker_leaves_room_for_other_models():
    world = World(RoutingSettings(held_max=3, organization_held_max=2))
    held = [world.submit(3, organization=name) for name in ("a", "a", "b")]
    for name in ("a", "b"):
        with pytest.raises(NoWorker) as caught:
            world.core.admit(offer(world, organization=name))
        assert caught.value.retry_after_seconds > 0
    world.core.cancel(held.pop())
    world.core.admit(offer(world, organization="b"))
    with pytest.raises(NoWorker):
        world.core.admit(offer(world, organization="a"))
    world.worker()
    world.core.admit(offer(world, organization="a"))
    world.finish()
    assert [request.error for request in held] == [None, None]


def test_of_those_admitted_at_one_moment_not_all_are_held():
    world = World(RoutingSettings(held_max=3, organization_held_max=2))
    requests = [world.submit(3, organization="a", first=number) for number in range(5)]
    assert [type(request.error) for request in requests] == [type(None)] * 2 + [NoWorker] * 3
    assert len(world.resolved) == 3
    world.worker()
    world.finish()
    assert len(world.resolved) == 5
    assert idle(world.core)


def test_no_worker_says_when_the_next_examination_is(world):
    worker = world.worker()
    world.core.quarantine.take_out(worker, "gone", world.now, hard=True)
    with pytest.raises(NoWorker) as caught:
        world.core.admit(offer(world, hold=0))
    assert 1 <= caught.value.retry_after_seconds <= 2


def test_a_busy_pool_is_not_promised(world):
    worker = world.worker()
    worker.rest_until = world.now + 5.0
    with pytest.raises(Shed):
        world.core.admit(offer(world, seconds=2.0))
    world.core.admit(offer(world, seconds=10.0))


def test_shed_requests_are_counted_by_reason(world):
    world.worker()
    with pytest.raises(Shed):
        world.core.admit(offer(world, int(100 * RATE)))
    assert world.core.counts["shed_would_miss_deadline"] == 1


def test_backlog_is_told_in_seconds_of_the_ready_workers(world):
    assert world.core.backlog_seconds == 0
    worker = world.worker()
    flood(world, 10)
    assert world.core.backlog_seconds == pytest.approx(10, rel=0.01)
    world.core.membership.drain(worker, "by hand", world.now)
    assert worker.state is WorkerState.DRAINING
    assert world.core.backlog_seconds == float("inf")
