"""Works in progress and answers kept, without a server: joined, bounded and forgotten."""

import asyncio
import gc

import pytest

from gateway.data_plane.api.exchange import Disconnected, Ended, Reply
from gateway.data_plane.api.replays import IdempotencyKeyReused, Print, Replays, TooManyRetries


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Exchanging:
    """An exchange, as far as a work knows it."""

    def __init__(self, request_id: str = "1") -> None:
        self.request_id = request_id
        self.has_left = False
        self.on_leave = None

    def leave(self) -> None:
        self.has_left = True
        if self.on_leave:
            self.on_leave()


def kept(clock: Clock | None = None, **bounds: int) -> Replays:
    chosen = {"bytes_max": 100, "waiting_max": 3, "key_characters_max": 255, **bounds}
    return Replays(seconds=60, clock=clock or Clock(), **chosen)


def of(name: str, body: bytes = b"", *, is_retry: bool = True) -> Print:
    return Print(name.encode(), body, is_retry)


async def answer(replays: Replays, print_: Print, size: int, lines: bytes = b"") -> None:
    with replays.begin(print_, Exchanging()) as work:
        work.done(Reply(bytes(size), lines))


async def test_answers_are_forgotten_in_time():
    clock = Clock()
    replays = kept(clock)
    await answer(replays, of("a"), 10)
    clock.now = 59
    again = await replays.find(of("a")).reply_to(Exchanging("2"))
    assert again.body == bytes(10)
    assert again.lines == b"idempotent-replayed: true\r\nx-original-request-id: 1\r\n"
    clock.now = 61
    assert replays.find(of("a")) is None
    assert replays.bytes == 0


async def test_a_kept_answer_is_bytes_alone_and_keeps_nothing_of_the_work():
    replays = kept()
    with replays.begin(of("a"), Exchanging()) as work:
        work.progress.request = object()  # as the pool does: it holds rows, vectors, and its batch
        work.done(Reply(b"x"))
    assert replays.bytes == 1
    assert work.progress.request is None
    assert not work.progress.begun
    assert not replays._running
    (held,) = replays._kept._answers.values()
    gc.collect()
    assert not gc.is_tracked(held)  # nothing in it is for the collector to look at


async def test_answers_are_bounded_in_bytes():
    replays = kept()
    for name in "abcde":
        await answer(replays, of(name), 30)
        assert replays.bytes <= 100
    assert [replays.find(of(name)) is not None for name in "abcde"] == [False] * 2 + [True] * 3
    await answer(replays, of("huge"), 101)
    assert replays.find(of("huge")) is None
    assert replays.bytes == 90  # what can't be kept evicts nothing
    await answer(replays, of("long"), 1, lines=b"x" * 97)
    assert replays.bytes == 98
    await answer(replays, of("long"), 2)  # instead of the one before
    assert replays.bytes == 2


async def test_another_body_is_refused():
    replays = kept()
    await answer(replays, of("a", b"one"), 1)
    with pytest.raises(IdempotencyKeyReused):
        replays.find(of("a", b"two"))


class Working:
    """A work that goes on until it is told to end, with any number of retries."""

    def __init__(self, replays: Replays) -> None:
        self.replays = replays
        self.first = Exchanging()
        self.hold = asyncio.Event()
        self.begins = asyncio.Event()
        self.task = asyncio.create_task(self._run())
        self.error: Exception | None = None

    async def _run(self) -> Reply:
        with self.replays.begin(of("a"), self.first) as self.work:
            self.begins.set()
            await self.hold.wait()
            if self.error:
                raise self.error
            return self.work.done(Reply(b"done"))

    async def join(self) -> tuple[Exchanging, asyncio.Task]:
        await self.begins.wait()
        exchange = Exchanging("2")
        waiting = self.work.waiting
        task = asyncio.create_task(self.replays.find(of("a")).reply_to(exchange))
        while self.work.waiting == waiting:
            await asyncio.sleep(0)
        return exchange, task


async def test_the_last_one_who_leaves_ends_what_was_not_begun_and_no_other():
    working = Working(kept())
    leaves, left = await working.join()
    stays, staying = await working.join()
    working.first.leave()
    leaves.leave()
    with pytest.raises(Disconnected):
        await left
    assert not working.task.cancelling()
    working.hold.set()
    assert (await staying).body == b"done"  # the other one gets its answer
    assert stays.on_leave is None

    working = Working(kept())
    leaves, left = await working.join()
    leaves.leave()
    with pytest.raises(Disconnected):
        await left
    working.first.leave()
    assert working.replays.find(of("a")) is None
    with pytest.raises(asyncio.CancelledError):
        await working.task


async def test_what_a_worker_has_begun_goes_on_without_anybody():
    class Begun:
        begun = True

    working = Working(kept())
    await working.begins.wait()
    working.work.progress.request = Begun()
    working.first.leave()
    working.hold.set()
    await working.task
    assert working.replays.find(of("a")) is not None


async def test_who_has_left_already_begins_and_joins_nothing():
    working = Working(kept())
    await working.begins.wait()
    gone = Exchanging("2")
    gone.leave()
    with pytest.raises(Disconnected):
        await working.replays.find(of("a")).reply_to(gone)
    with pytest.raises(Disconnected):
        working.replays.begin(of("b"), gone)
    working.hold.set()
    await working.task


async def test_what_is_cancelled_from_outside_is_an_error_for_all_who_wait():
    working = Working(kept())
    waiting = [(await working.join())[1] for _ in range(2)]
    working.task.cancel()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, Ended)
        assert error.headers["retry-after"] == "1"
    assert working.replays.find(of("a")) is None


async def test_a_failure_is_one_for_all_who_wait_and_is_not_kept():
    working = Working(kept())
    _, joined = await working.join()
    working.error = KeyError("ours")
    working.hold.set()
    for task in (working.task, joined):
        with pytest.raises(KeyError):
            await task
    assert working.replays.find(of("a")) is None


async def test_a_retry_that_is_ended_ends_no_other():
    working = Working(kept())
    _, stays = await working.join()
    _, ended = await working.join()
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    working.hold.set()
    assert (await stays).body == b"done"


async def test_only_so_many_wait_for_one():
    working = Working(kept(waiting_max=3))
    waiting = [(await working.join())[1] for _ in range(2)]
    with pytest.raises(TooManyRetries):
        working.replays.find(of("a"))
    working.hold.set()
    await asyncio.gather(*waiting)
    assert working.replays.find(of("a")) is not None


async def test_the_latest_of_equal_works_is_kept():
    replays = kept()
    with replays.begin(of("a"), Exchanging("first")) as first:
        with replays.begin(of("a"), Exchanging("second")) as second:
            second.done(Reply(b"second"))
        first.done(Reply(b"first"))
    assert (await replays.find(of("a")).reply_to(Exchanging())).body == b"second"
