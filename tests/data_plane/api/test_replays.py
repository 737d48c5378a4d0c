"""Works in progress and answers kept, without a server: joined, bounded and forgotten."""

import asyncio
import contextlib

import pytest

from gateway.data_plane.api.exchange import Disconnected
from gateway.data_plane.api.replays import (
    IdempotencyKeyReused,
    Print,
    Replays,
    Reply,
    TooManyRetries,
    WorkEnded,
)
from gateway.data_plane.routing.request import Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(clock: Clock | None = None, **bounds: int) -> Replays:
    chosen = {"bytes_max": 100, "waiting_max": 3, "key_characters_max": 255, **bounds}
    return Replays(seconds=60, clock=clock or Clock(), **chosen)


def of(name: str, body: bytes = b"", *, is_retry: bool = True) -> Print:
    return Print(("key", name), body, is_retry)


async def reply(size: int, **headers: str) -> Reply:
    return Reply(bytes(size), list(headers.items()))


async def test_answers_are_forgotten_in_time():
    clock = Clock()
    replays = kept(clock)
    await replays.begin(of("a"), "1", lambda _progress: reply(10)).task
    clock.now = 59
    assert replays.find(of("a")) is not None
    clock.now = 61
    assert replays.find(of("a")) is None
    assert replays.bytes == 0


async def test_a_kept_answer_keeps_nothing_of_the_work():
    replays = kept()

    async def run(progress: Progress) -> Reply:
        progress.request = object()  # as the pool does: it holds rows, vectors, and its batch
        return Reply(b"x", [])

    work = replays.begin(Print(("key", "a"), b"a", is_retry=False), "id", run)
    await work.task
    await asyncio.sleep(0)
    assert replays.bytes == 1
    assert work.progress.request is None
    assert not work.progress.begun


async def test_answers_are_bounded_in_bytes():
    replays = kept()
    for name in "abcde":
        await replays.begin(of(name), name, lambda _progress: reply(30)).task
        await asyncio.sleep(0)
        assert replays.bytes <= 100
    assert [replays.find(of(name)) is not None for name in "abcde"] == [False] * 2 + [True] * 3
    await replays.begin(of("huge"), "huge", lambda _progress: reply(101)).task
    await asyncio.sleep(0)
    assert replays.find(of("huge")) is None
    assert replays.bytes == 90  # what can't be kept evicts nothing
    await replays.begin(of("long"), "long", lambda _progress: reply(1, receipt="x" * 90)).task
    await asyncio.sleep(0)
    assert replays.bytes == 98


async def test_another_body_is_refused():
    replays = kept()
    await replays.begin(of("a", b"one"), "1", lambda _progress: reply(1)).task
    with pytest.raises(IdempotencyKeyReused):
        replays.find(of("a", b"two"))


class Exchanging:
    """An exchange whose client stays, or leaves at once."""

    def __init__(self, *, leaves: bool) -> None:
        self.request_id = "2"
        self._leaves = leaves

    async def while_connected(self, task):
        await asyncio.sleep(0)
        if self._leaves:
            raise Disconnected
        return await asyncio.shield(task)  # as `asyncio.wait` does: who waits ends nothing


async def test_the_last_one_who_leaves_ends_what_was_not_begun_and_no_other():
    replays = kept()
    hold = asyncio.Event()

    async def run(_progress: Progress) -> Reply:
        await hold.wait()
        return Reply(b"", [])

    work = replays.begin(of("a"), "1", run)
    stays = asyncio.create_task(work.reply_to(Exchanging(leaves=False)))
    await asyncio.sleep(0)
    with pytest.raises(Disconnected):
        await work.reply_to(Exchanging(leaves=True))
    hold.set()
    assert (await stays).body == b""  # the other one gets its answer

    hold.clear()
    work = replays.begin(of("b"), "1", run)
    with pytest.raises(Disconnected):
        await work.reply_to(Exchanging(leaves=True))
    assert replays.find(of("b")) is None
    with contextlib.suppress(asyncio.CancelledError):
        await work.task
    assert work.task.cancelled()


async def test_what_is_cancelled_from_outside_is_an_error_for_all_who_wait():
    replays = kept()
    work = replays.begin(of("a"), "1", lambda _progress: asyncio.sleep(60))
    waiting = [asyncio.create_task(work.reply_to(Exchanging(leaves=False))) for _ in range(2)]
    await asyncio.sleep(0)
    work.task.cancel()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, WorkEnded)
        assert error.headers["retry-after"] == "1"
    assert replays.find(of("a")) is None


async def test_a_connection_that_is_ended_ends_no_other():
    replays = kept()
    hold = asyncio.Event()

    async def run(_progress: Progress) -> Reply:
        await hold.wait()
        return Reply(b"", [])

    work = replays.begin(of("a"), "1", run)
    stays, ended = (
        asyncio.create_task(work.reply_to(Exchanging(leaves=False))) for _ in range(2)
    )  # fmt: skip
    await asyncio.sleep(0)
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    hold.set()
    assert (await stays).body == b""


async def test_only_so_many_wait_for_one():
    replays = kept(waiting_max=2)
    hold = asyncio.Event()

    async def run(_progress: Progress) -> Reply:
        await hold.wait()
        return Reply(b"", [])

    work = replays.begin(of("a"), "1", run)
    waiting = [asyncio.create_task(work.reply_to(Exchanging(leaves=False))) for _ in range(2)]
    while work.waiting < 2:
        await asyncio.sleep(0)
    with pytest.raises(TooManyRetries):
        replays.find(of("a"))
    hold.set()
    await asyncio.gather(*waiting)
    assert replays.find(of("a")) is work
