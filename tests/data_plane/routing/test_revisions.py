"""Workers of two revisions: one pool serves one of them, and no answer is made of both."""

import pytest

from backends.protocol import WorkerUnreachable
from gateway.data_plane.routing.membership import REVISION_GRACE_SECONDS
from gateway.data_plane.routing.quarantine import PASSES_MIN
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import INFO, LINE, REVISED, fail, right


def test_two_revisions_never_serve_one_pool(world):
    world.worker("w1")
    other = REVISED(revision="2")
    late = world.worker("w2", info=other)
    assert late.state is WorkerState.WARMING
    assert "serves revision 2" in late.reason
    world.core.membership.remove(world.core.workers["w1"], world.now)
    world.core.membership.examined(late, other, LINE, "proof", world.now)
    assert late.state is WorkerState.READY


def test_an_answer_is_never_made_of_two_revisions(world):
    first = world.worker("w1")
    request = world.submit(*[4000] * 8)
    world.succeed(world.flying[0])
    assert request.revision == "one"
    for attempt in world.flying:
        fail(world, attempt, WorkerUnreachable, "refused")
    world.core.membership.remove(first, world.now)
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
    world.core.membership.remove(first, world.now)
    second = world.worker("w2", info=REVISED(revision="2"))
    late = world.flying[-1]
    assert late.worker is second
    world.core.membership.remove(second, world.now)
    world.succeed(early)
    assert request.revision == "one"
    world.succeed(late)
    assert request.revision == "one"
    world.worker("w3", info=REVISED(revision="2"))
    world.finish()
    assert request.revision == "2"
    assert right(request)


def test_a_worker_that_served_another_revision_is_measured_anew(world):
    world.worker("w1")
    late = world.worker("w2")
    assert late.calibrated
    world.core.membership.examined(late, REVISED(revision="2"), LINE, "proof", world.now)
    assert late.state is WorkerState.WARMING
    assert not late.calibrated


@pytest.mark.parametrize("how", ["dead", "drained"])
def test_the_dead_do_not_keep_another_revision_out(world, how):
    old, other = world.worker("old"), REVISED(revision="2")
    if how == "dead":
        world.core.quarantine.take_out(old, "nothing listens", world.now, hard=True)
    else:
        world.core.membership.drain(old, "by hand", world.now)
    request = world.submit(3)
    new = world.worker("new", info=other)
    grace = REVISION_GRACE_SECONDS
    for seconds, state in ((grace - 0.1, WorkerState.WARMING), (0.1, WorkerState.READY)):
        assert new.state is WorkerState.WARMING
        world.now += seconds
        world.core.membership.examined(new, other, LINE, "proof", world.now)
        assert new.state is state
    world.finish()
    assert right(request)
    assert request.revision == "2"
    world.core.membership.undrain(old, world.now)
    world.core.membership.examined(old, INFO, LINE, "proof", world.now)
    assert old.state is WorkerState.WARMING, "now the new one has the pool"


def test_a_revision_that_comes_back_in_time_keeps_its_pool(world):
    old, other = world.worker("old"), REVISED(revision="2")
    world.core.quarantine.take_out(old, "reset", world.now, hard=True)
    new = world.worker("new", info=other)
    for _ in range(PASSES_MIN):
        world.core.membership.examined(old, INFO, None, "proof", world.now)
    world.core.quarantine.take_out(old, "reset again", world.now, hard=True)
    world.now += REVISION_GRACE_SECONDS
    world.core.membership.examined(new, other, LINE, "proof", world.now)
    assert new.state is WorkerState.WARMING


def test_a_worker_that_changed_its_revision_is_not_believed(world):
    world.worker("w1")
    changed = world.worker("w2")
    requests = [world.submit(3, first=number) for number in range(4)]
    mine = [attempt for attempt in world.flying if attempt.worker is changed]
    assert mine
    world.core.membership.examined(changed, REVISED(revision="2"), None, "proof", world.now)
    assert changed.state is WorkerState.WARMING
    assert world.abandoned == mine
    world.finish()
    assert all(right(request) for request in requests)


def test_a_late_answer_of_a_revision_that_was_replaced_is_not_delivered(world):
    old = world.worker("w1")
    request = world.submit(3)
    late = world.flying[0]
    world.core.membership.remove(old, world.now)
    world.worker("w2", info=REVISED(revision="2"))
    world.succeed(late)
    assert not request.finished
    world.finish()
    assert request.revision == "2"
    assert right(request)
