"""The pool in front of real workers: they must prove themselves, and one failing is no error."""

import asyncio
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager

import httpx
import pytest

from backends import registry
from backends.fake import vector
from backends.protocol import TokenRow
from gateway.control_plane.catalog.models import reviewed
from gateway.data_plane.routing.pools import NoReadyWorker, Pools, WorkersFailed, parse_workers
from gateway.snapshots import Catalog, ModelSnapshot, PriceSnapshot
from tests.support.processes import Process, running

MODEL = "test/model"
VOCABULARY = reviewed()[0].vocabulary_sha256
ROWS = [TokenRow(struct.pack("<3I", 101, 2000 + i, 102), 8) for i in range(4)]
EXPECTED = [vector(row.ids, 8) for row in ROWS]
FAKE = ("backends.fake", "--model", MODEL, "--vocabulary-sha256", VOCABULARY)


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Process]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running(*FAKE)) for _ in range(2)]


@asynccontextmanager
async def pools(*urls: str, seconds: float = 60) -> AsyncIterator[Pools]:
    model = ModelSnapshot(
        id=MODEL,
        state="live",
        price=PriceSnapshot("p", 1),
        dimensions=(8,),
        dimensions_default=8,
        tokens_max=512,
        vocabulary_sha256=VOCABULARY,
    )
    opened = Pools(
        [(MODEL, url) for url in urls],
        connect=registry.connect,
        catalog=lambda: Catalog({MODEL: model}),
        health_interval_seconds=seconds,
    )
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


async def embed(pools: Pools, rows: Sequence[TokenRow] = ROWS, seconds: float = 5) -> list[bytes]:
    deadline = time.monotonic() + seconds
    found = await pools.dispatch(MODEL, rows, deadline=deadline, request_id="r")
    return [bytes(one) for one in found]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_each_caller_gets_its_own_vectors(workers: list[Process]):
    async with pools(*(worker.url for worker in workers)) as opened:
        answers = await asyncio.gather(*(embed(opened, [row]) for row in ROWS * 10))
        assert [answer[0] for answer in answers] == EXPECTED * 10
        assert all(status.tokens_at_work == 0 for status in opened.statuses())


@pytest.mark.parametrize("kind", ["error", "nan", "foreign", "reset", "hang", "busy", "truncated"])
async def test_one_failing_worker_is_no_error(workers: list[Process], kind: str):
    async with (
        pools(*(worker.url for worker in workers)) as opened,
        httpx.AsyncClient(base_url=workers[0].url) as control,
    ):
        await control.put("/fault", json={"kind": kind, "times": -1, "seconds": 5})
        try:
            for _ in range(4):
                assert await embed(opened, seconds=2) == EXPECTED
        finally:
            await control.delete("/fault")
        ready = Counter(status.ready for status in opened.statuses())
        assert ready[True] == (2 if kind == "busy" else 1)
        await opened.check()  # what is well again is taken back
        assert all(status.ready for status in opened.statuses())


async def test_all_failing_is_one_clear_error(workers: list[Process]):
    async with (
        pools(workers[0].url) as opened,
        httpx.AsyncClient(base_url=workers[0].url) as control,
    ):
        await control.put("/fault", json={"kind": "error", "times": 1})
        with pytest.raises(WorkersFailed):
            await embed(opened)
        with pytest.raises(NoReadyWorker):
            await embed(opened)


async def test_a_killed_worker_is_out_and_back():
    with running(*FAKE) as stays, running(*FAKE) as dies:
        port = dies.url.rpartition(":")[2]
        async with pools(stays.url, dies.url, seconds=0.1) as opened:
            dies.kill()
            for _ in range(4):
                assert await embed(opened) == EXPECTED
            await until(lambda: sum(status.ready for status in opened.statuses()) == 1)
            with running(*FAKE, "--port", port):
                await until(lambda: all(status.ready for status in opened.statuses()))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--model", "another"], "it serves another"),
        (["--vocabulary-sha256", "feed"], "its vocabulary is feed"),
        (["--dimensions", "16"], "it has no 8 dimensions"),
    ],
)
async def test_a_worker_that_serves_something_else_never_gets_in(options: list[str], reason: str):
    with running(*FAKE, *options) as worker:
        async with pools(worker.url) as opened:
            (status,) = opened.statuses()
            assert not status.ready
            assert reason in status.reason
            with pytest.raises(NoReadyWorker):
                await embed(opened)


async def test_the_fewest_tokens_at_work_come_next(workers: list[Process]):
    async with (
        pools(*(worker.url for worker in workers)) as opened,
        httpx.AsyncClient(base_url=workers[0].url) as control,
    ):
        await control.put("/fault", json={"kind": "slow", "times": 1, "seconds": 0.5})
        held = asyncio.create_task(embed(opened))
        await until(lambda: any(status.tokens_at_work for status in opened.statuses()))
        started = time.monotonic()
        for _ in range(5):
            await embed(opened)
        assert not held.done()
        assert time.monotonic() - started < 0.5
        assert await held == EXPECTED


def test_workers_are_written_as_documented():
    assert parse_workers(" a=http://h:1  b/c=unix:/x ") == [
        ("a", "http://h:1"),
        ("b/c", "unix:/x"),
    ]
    for wrong in ("a", "=http://h", "a="):
        with pytest.raises(ValueError, match="is not MODEL=URL"):
            parse_workers(wrong)
