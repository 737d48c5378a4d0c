"""Which processes are believed: no answer of one that nobody examined is delivered."""

from gateway.data_plane.routing.answerers import UNTOLD, Answerers
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import World, answer, right

OLD, NEW = b"old", b"new"


def examined(world: World, worker, *processes: bytes) -> None:
    """Let a worker pass an examination in which these processes answered."""
    worker.answerers.examined(set(processes), worker.answerers.doubts)
    world.core.membership.examined(worker, worker.info, None, "proof", world.now)
    world.turn()


def test_one_that_was_not_examined_is_not_believed_whatever_it_says():
    answerers = Answerers()
    answerers.examined({OLD}, 0)
    assert answerers.believes(OLD, 0)
    assert not answerers.believes(NEW, 0)
    assert not answerers.believes(UNTOLD, 0)


def test_one_that_drains_and_the_next_are_both_believed_and_only_so_many():
    answerers = Answerers()
    for number in range(5):
        answerers.examined({b"%d" % number}, 0)
    assert [answerers.believes(b"%d" % number, 0) for number in range(5)] == [False, *[True] * 4]


def test_what_one_without_an_id_was_asked_before_a_doubt_is_not_believed_after_it():
    answerers = Answerers()
    assert answerers.believes(UNTOLD, 0)
    answerers.doubt()
    assert not answerers.believes(UNTOLD, 0)
    answerers.examined({UNTOLD}, 1)
    assert answerers.believes(UNTOLD, 1)
    assert not answerers.doubted


def test_a_doubt_during_an_examination_outlives_it_if_no_id_was_told():
    answerers = Answerers()
    answerers.doubt()
    answerers.examined({UNTOLD}, 0)
    assert answerers.doubted
    answerers.examined({OLD}, 0)
    assert not answerers.doubted  # an id tells each answer of another process


def test_an_answer_of_another_process_goes_to_nobody_and_its_rows_elsewhere(world):
    one, other = world.worker("w1"), world.worker("w2")
    examined(world, one, OLD)
    request = world.submit(3)
    (attempt,) = world.flying
    assert attempt.worker is one
    world.core.succeed(attempt, answer(attempt.rows, "another model"), NEW)
    assert not world.resolved
    assert one in world.suspects
    (again,) = world.flying
    assert again.worker is other
    world.core.succeed(again, answer(again.rows, "one"))
    assert world.resolved == [request]
    assert right(request)


def test_the_only_worker_gets_the_rows_again_once_its_process_is_examined(world):
    worker = world.worker()
    examined(world, worker, OLD)
    request = world.submit(3)
    (attempt,) = world.flying
    world.core.succeed(attempt, answer(attempt.rows, "another model"), NEW)
    world.later(0.1)
    assert not world.flying  # it is in doubt
    assert worker.state is WorkerState.READY
    examined(world, worker, NEW)
    (again,) = world.flying
    world.core.succeed(again, answer(again.rows, "one"), NEW)
    assert world.resolved == [request]
    assert right(request)


def test_a_worker_in_doubt_gets_nothing_and_is_looked_at_soon(world):
    worker = world.worker()
    world.core.quarantine.doubt(worker)
    assert world.suspects == [worker]
    request = world.submit(3)
    assert not world.flying
    seconds = world.core.membership.seconds_to_examination(worker, world.now)
    assert seconds < world.settings.check_seconds / 2
    examined(world, worker, UNTOLD)
    world.finish()
    assert world.resolved == [request]


def test_nor_is_what_it_was_asked_before_the_doubt_delivered(world):
    worker = world.worker()
    request = world.submit(3)
    world.core.quarantine.doubt(worker)
    (attempt,) = world.flying
    world.core.succeed(attempt, answer(attempt.rows, "another model"))
    examined(world, worker, UNTOLD)
    world.finish()
    assert right(request)
