"""Speed, window and quarantine of one worker."""

import pytest

from backends.protocol import WorkerFailed, WorkerUnreachable
from gateway.data_plane.routing.quarantine import FORGET_SECONDS, JITTER, SLOW_START, NotReady
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.routing.worker import (
    BUSY_SECONDS_MAX,
    HISTORY_MAX,
    SPLIT_TOKENS_MIN,
    WINDOW_SHARE_START,
    Speed,
    fit,
)
from gateway.snapshots import WorkerState
from tests.data_plane.routing.world import INFO, LINE

SETTINGS = RoutingSettings()


def speed() -> Speed:
    made = Speed()
    made.calibrate(0.01, 1e-4)
    return made


def test_two_sizes_give_the_line():
    base, token = fit((8, 0.0108), (2048, 0.2148))
    assert base == pytest.approx(0.01)
    assert token == pytest.approx(1e-4)


def test_a_line_that_falls_is_flat_and_positive():
    base, token = fit((8, 0.02), (2048, 0.01))
    assert 0 <= base <= 0.02
    assert token > 0


def test_slowness_is_learned_fast_forgotten_slowly_and_faded_by_time():
    made = speed()
    made.observe(10 * made.expected(1000), 1000, 0.0)
    assert made.slow(0.0) == pytest.approx(5.5)
    made.observe(made.expected(1000), 1000, 0.0)
    assert made.slow(0.0) == pytest.approx(4.6)
    assert made.slow(5.0) == pytest.approx(1 + 3.6 / 2.718, rel=0.01)
    assert made.slow(60.0) == pytest.approx(1, abs=0.01)


def test_a_few_milliseconds_are_no_slowness():
    made = Speed()
    made.calibrate(0.0001, 1e-6)
    made.observe(0.005, 10, 0.0)
    assert made.slow(0.0) == 1.0


def test_the_window_opens_with_answers_and_closes_when_busy(world):
    worker = world.worker()
    worker.window_share = WINDOW_SHARE_START
    worker.answered(world.now)
    assert worker.window_share == pytest.approx(0.30)
    worker.busy(0.1, world.now)
    assert worker.window_share == pytest.approx(0.21)
    assert worker.room(world.now, waiting_tokens=0, window_tokens=1000) == 0
    assert worker.room(world.now + 0.11, waiting_tokens=0, window_tokens=1000) > 0


def test_a_worker_that_asks_for_an_hour_is_asked_again_in_seconds(world):
    worker = world.worker()
    worker.busy(3600.0, world.now)
    assert worker.rest_until - world.now == BUSY_SECONDS_MAX


def test_half_of_the_last_answers_failing_is_as_bad_as_three_in_a_row(world):
    worker = world.worker()
    verdicts = []
    for _ in range(12):
        worker.answered(world.now)
        verdicts += [worker.faulted(), worker.faulted()]
    assert verdicts[0] is False
    assert verdicts[-1] is True


def test_a_relapse_is_told_when_its_reason_is_another(world):
    worker = world.worker()
    world.core.quarantine.take_out(worker, "silent", world.now, hard=True)
    told = len(worker.history)
    for reason in ("silent", "refused", "refused"):
        world.core.quarantine.relapse(worker, reason, world.now)
    assert [change.reason for change in worker.history][told:] == ["refused"]


def test_quarantine_doubles_with_each_relapse_up_to_a_bound(world):
    world.worker("other")
    worker = world.worker()
    membership = world.core.membership
    waits = []
    membership.failed(worker, WorkerUnreachable("w1", "refused"), world.now)
    for _ in range(6):
        waits.append(worker.examine_at - world.now)
        membership.failed(worker, WorkerUnreachable("w1", "refused"), world.now)
    for wait, expected in zip(waits, [0.25, 0.5, 1.0, 1.6, 1.6, 1.6], strict=True):
        assert wait == pytest.approx(expected, rel=JITTER)


def test_two_passes_bring_it_back_slowly(world):
    world.worker("other")
    worker = world.worker()
    membership = world.core.membership
    membership.failed(worker, WorkerUnreachable("w1", "refused"), world.now)
    membership.examined(worker, INFO, None, "proof", world.now)
    assert worker.state is WorkerState.QUARANTINED
    membership.examined(worker, INFO, None, "proof", world.now)
    assert worker.state is WorkerState.READY
    assert worker.window_share == WINDOW_SHARE_START
    assert worker.speed.slow(world.now) == SLOW_START
    assert worker.speed.expected(1000) == pytest.approx(LINE[0] + 1000 * LINE[1])


def test_a_failed_pass_begins_again(world):
    world.worker("other")
    worker = world.worker()
    membership = world.core.membership
    membership.failed(worker, WorkerUnreachable("w1", "refused"), world.now)
    membership.examined(worker, INFO, None, "proof", world.now)
    membership.failed(worker, WorkerUnreachable("w1", "refused"), world.now)
    membership.examined(worker, INFO, None, "proof", world.now)
    assert worker.state is WorkerState.QUARANTINED


def test_healthy_minutes_are_remembered(world):
    worker = world.worker()
    quarantine = world.core.quarantine
    for _ in range(4):
        quarantine.take_out(worker, "refused", world.now, hard=True)
        quarantine.readmit(worker, "proof", world.now)
    assert worker.ejections == 4
    world.now += 3 * FORGET_SECONDS
    quarantine.take_out(worker, "refused", world.now, hard=True)
    assert worker.ejections == 2


def test_a_slow_worker_limps_then_leaves_and_is_measured_meanwhile(world):
    for url in ("w2", "w3"):
        world.worker(url)
    worker = world.worker("w1")
    pace = world.core.quarantine.check_pace
    for _ in range(5):
        worker.speed.observe(10 * worker.speed.expected(4000), 4000, world.now)
    pace(worker, world.now)
    assert not worker.limping
    world.now += 2.0
    worker.speed.observe(10 * worker.speed.expected(4000), 4000, world.now)
    pace(worker, world.now)
    assert worker.limping
    assert worker.state is WorkerState.READY
    for _ in range(9):
        worker.speed.observe(50 * worker.speed.expected(4000), 4000, world.now)
    pace(worker, world.now)
    assert worker.state is WorkerState.QUARANTINED
    assert "slower than the others" in worker.reason


def test_a_slow_worker_stays_where_too_few_would_be_left(world):
    for url in ("w2", "w3"):
        world.core.quarantine.take_out(world.worker(url), "refused", world.now, hard=True)
    world.worker("w4")
    worker = world.worker("w1")
    for _ in range(9):
        worker.speed.observe(50 * worker.speed.expected(4000), 4000, world.now)
    world.core.quarantine.check_pace(worker, world.now)
    assert worker.state is WorkerState.READY
    assert worker.reason.startswith("kept, for too few are left: ")


def test_a_worker_that_says_it_drains_gets_no_work(world):
    world.worker("other")
    worker = world.worker()
    world.core.membership.failed(worker, NotReady("w1", "503 draining"), world.now)
    assert worker.state is WorkerState.QUARANTINED
    assert "draining" in worker.reason


def test_a_closed_port_is_warming_not_down(world):
    worker = world.core.membership.add("w1", world.now)
    for _ in range(5):
        world.core.membership.failed(worker, WorkerUnreachable("w1", "refused"), world.now)
    assert worker.state is WorkerState.WARMING
    assert len(worker.history) == 1, "the same reason is noted once"


def test_history_is_bounded(world):
    worker = world.worker()
    for number in range(100):
        worker.enter(WorkerState.READY, str(number), world.now)
    assert len(worker.view(world.now).history) == HISTORY_MAX


def test_what_is_shown_of_a_worker_says_how_long_ago_it_proved_itself(world):
    worker = world.worker()
    assert worker.view(world.now + 5).proved_seconds == 5


def test_one_failed_canary_is_enough(world):
    world.worker("other")
    worker = world.worker()
    world.core.membership.failed(worker, WorkerFailed("w1", "500"), world.now)
    assert worker.state is WorkerState.QUARANTINED


def test_jitter_varies_but_stays_near(world):
    values = {world.core.quarantine.jitter(1.0) for _ in range(100)}
    assert len(values) > 90
    assert 0.8 <= min(values) <= max(values) <= 1.2


def test_a_slow_worker_gets_smaller_shards_and_a_smaller_window(world):
    cpu = world.worker(line=(0.005, 1e-4))
    assert cpu.split_tokens == 1000
    world.submit(*[100] * 200)
    assert all(attempt.tokens <= 1000 for attempt in world.flying)
    assert cpu.tokens <= SETTINGS.window_seconds_max / 1e-4
    world.finish()


def test_shards_have_a_least_size(world):
    assert world.worker(line=(0.005, 1.0)).split_tokens == SPLIT_TOKENS_MIN
