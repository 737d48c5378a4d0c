"""The queue alone: nothing is lost or computed twice, no call starves, everything is bounded."""

import struct
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.engine import DeadlinePassed, EngineBroken, EngineBusy
from backends.protocol import TokenRow
from backends.stella.queue import QueuedCall, TokenQueue

FAR = 1e12


def row(tokens: int) -> TokenRow:
    return TokenRow(struct.pack(f"<{tokens}I", *range(tokens)), 8)


class Settled:
    """Records how the calls ended."""

    def __init__(self) -> None:
        self.errors: dict[QueuedCall, BaseException | None] = {}

    def __call__(self, call: QueuedCall, error: BaseException | None) -> None:
        assert call not in self.errors
        self.errors[call] = error


def call_of(*sizes: int, deadline: float = FAR, settle: Settled | None = None) -> QueuedCall:
    return QueuedCall([row(size) for size in sizes], deadline, settle or Settled())


def queue_of(*calls: QueuedCall, tokens_max: int = 100_000) -> TokenQueue:
    queue = TokenQueue(tokens_max)
    for call in calls:
        queue.put(call, float)
    return queue


sizes = st.lists(st.integers(1, 20), min_size=1, max_size=12)


@given(st.lists(sizes, min_size=1, max_size=8), st.integers(1, 60))
def test_every_row_is_taken_once_and_batches_keep_to_the_budget(calls, budget):
    waiting = [call_of(*call) for call in calls]
    queue = queue_of(*waiting)
    taken = []
    while queue.tokens_waiting:
        batch = queue.take(budget)
        tokens = sum(slot.row.tokens for slot in batch)
        assert tokens <= budget or len(batch) == 1
        taken += [(slot.call, slot.place) for slot in batch]
    expected = {(call, place) for call in waiting for place in range(len(call.rows))}
    assert len(taken) == len(expected)
    assert set(taken) == expected


@given(st.lists(sizes, min_size=2, max_size=8), st.integers(1, 60))
def test_the_oldest_moves_in_every_batch(calls, budget):
    waiting = [call_of(*call) for call in calls]
    queue = queue_of(*waiting)
    while queue.tokens_waiting:
        oldest = next(call for call in waiting if call.taken < len(call.rows))
        assert oldest in {slot.call for slot in queue.take(budget)}


def test_a_short_call_rides_beside_a_long_one():
    long, short = call_of(*[500] * 100), call_of(7)
    queue = queue_of(long, short)
    batch = queue.take(2000)
    assert {slot.call for slot in batch} == {long, short}
    assert sum(slot.row.tokens for slot in batch) > 1500  # and the batch is full all the same


def test_a_stream_of_short_calls_does_not_starve_a_long_one():
    long = call_of(*[500] * 10)
    queue = queue_of(long)
    for _ in range(10):
        for _ in range(40):
            queue.put(call_of(10), float)
        queue.take(600)
    assert long.taken == 10


def test_the_bound_is_in_tokens_and_says_when_to_come_back():
    queue = queue_of(call_of(60), tokens_max=100)
    with pytest.raises(EngineBusy, match="60 of 100") as caught:
        queue.put(call_of(41), lambda tokens: tokens / 10)
    assert caught.value.retry_after_seconds == 6
    queue.put(call_of(40), float)
    assert queue.tokens_waiting == 100


def test_what_is_late_is_dropped_before_it_costs_time():
    settled = Settled()
    late, fine = call_of(5, deadline=time.monotonic() - 1, settle=settled), call_of(6)
    queue = queue_of(late, fine)
    assert {slot.call for slot in queue.take(100)} == {fine}
    assert isinstance(settled.errors[late], DeadlinePassed)
    assert queue.tokens_waiting == 0


def test_what_nobody_waits_for_is_forgotten():
    gone, fine = call_of(*[5] * 10), call_of(6)
    queue = queue_of(gone, fine)
    queue.take(10)
    queue.drop(gone)
    queue.drop(gone)
    assert queue.tokens_waiting == sum(r.tokens for r in fine.rows[fine.taken :])
    if queue.tokens_waiting:
        assert {slot.call for slot in queue.take(100)} == {fine}


def test_closing_fails_what_waits_and_wakes_the_taker():
    settled = Settled()
    queue = TokenQueue(100)
    taken: list[list[object]] = []
    taker = threading.Thread(target=lambda: taken.append(list(queue.take(10))))
    taker.start()
    queue.close(EngineBroken("gone"))
    taker.join(timeout=10)
    assert taken == [[]]
    with pytest.raises(EngineBroken, match="gone"):
        queue.put(call_of(1, settle=settled), float)


def test_closing_fails_each_waiting_job_once():
    settled = Settled()
    queue = queue_of(call_of(1, settle=settled), call_of(2, settle=settled))
    queue.close(EngineBroken("gone"))
    assert [str(error) for error in settled.errors.values()] == ["gone", "gone"]


@given(st.lists(st.lists(st.sampled_from([1, 4, 9]), min_size=1, max_size=9), min_size=1))
def test_a_batch_has_few_numbers_or_one_row(calls):
    waiting = [
        QueuedCall([TokenRow(b"\0" * 12, size) for size in call], FAR, Settled()) for call in calls
    ]
    queue, taken = queue_of(*waiting), 0
    while queue.tokens_waiting:
        batch = queue.take(1_000, 8)
        assert sum(slot.row.dimensions for slot in batch) <= 8 or len(batch) == 1
        taken += len(batch)
    assert taken == sum(map(len, calls))
