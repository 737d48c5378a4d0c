"""The fake worker: the contract, then each fault as the error that the router acts on."""

import asyncio
import errno
import struct
from collections.abc import Iterator

import httpx
import pytest

from backends.fake import POISON, vector
from backends.protocol import (
    InvalidAnswer,
    OutOfResources,
    RequestRefused,
    TokenRow,
    WorkerBusy,
    WorkerFailed,
    WorkerTimeout,
    WorkerUnreachable,
)
from backends.registry import connect
from testing.processes import running
from tests.backends.contract import HELLO, WORLD, BackendContract, Subject

ROWS = [TokenRow(HELLO, 8), TokenRow(WORLD, 8)]


@pytest.fixture(scope="module")
def worker() -> Iterator[Subject]:
    with running("backends.fake") as process:
        yield Subject(process.url, dimensions=8)


class TestFake(BackendContract):
    pass


async def test_its_vectors_can_be_recomputed(worker: Subject):
    backend = connect(worker.url)
    answer = await backend.embed(ROWS, timeout_seconds=5)
    await backend.close()
    assert [bytes(row) for row in answer] == [vector(HELLO, 8), vector(WORLD, 8)]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("foreign", InvalidAnswer),
        ("permuted", InvalidAnswer),
        ("missing", InvalidAnswer),
        ("dimension", InvalidAnswer),
        ("truncated", InvalidAnswer),
        ("html", InvalidAnswer),
        ("error", WorkerFailed),
        ("busy", WorkerBusy),
        ("refuse", RequestRefused),
        ("hang", WorkerTimeout),
        ("reset", WorkerUnreachable),
        ("short", InvalidAnswer),
        ("drip", WorkerTimeout),
    ],
)
async def test_each_fault_is_told_apart(worker: Subject, kind: str, error: type[Exception]):
    backend = connect(worker.url)
    async with httpx.AsyncClient(base_url=worker.url) as control:
        await control.put("/fault", json={"kind": kind, "times": -1, "seconds": 5})
        try:
            with pytest.raises(error):
                await backend.embed(ROWS, timeout_seconds=0.5)
        finally:
            await control.delete("/fault")
    assert len(await backend.embed(ROWS, timeout_seconds=5)) == 2
    await backend.close()


async def test_our_own_exhaustion_is_no_fault_of_the_worker(worker: Subject, monkeypatch):
    async def no_descriptor(*_, **__):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_descriptor)
    backend = connect(worker.url)
    with pytest.raises(OutOfResources):
        await backend.embed(ROWS, timeout_seconds=5)
    await backend.close()


async def test_a_busy_worker_says_how_long(worker: Subject):
    backend = connect(worker.url)
    async with httpx.AsyncClient(base_url=worker.url) as control:
        await control.put("/fault", json={"kind": "busy"})
    with pytest.raises(WorkerBusy) as caught:
        await backend.embed(ROWS, timeout_seconds=5)
    await backend.close()
    assert caught.value.retry_after_seconds == pytest.approx(0.05)


async def test_a_cancelled_call_leaves_the_client_usable(worker: Subject):
    backend = connect(worker.url)
    async with httpx.AsyncClient(base_url=worker.url) as control:
        await control.put("/fault", json={"kind": "hang", "seconds": 5})
        call = asyncio.ensure_future(backend.embed(ROWS, timeout_seconds=5))
        await asyncio.wait([call], timeout=0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await control.delete("/fault")
    assert len(await backend.embed(ROWS, timeout_seconds=5)) == 2
    await backend.close()


@pytest.mark.parametrize(
    ("kind", "error"), [("poison", RequestRefused), ("poison_error", WorkerFailed)]
)
async def test_poison_hurts_only_the_call_it_is_in(worker: Subject, kind: str, error):
    poison = TokenRow(struct.pack("<2I", POISON, 1), 8)
    backend = connect(worker.url)
    async with httpx.AsyncClient(base_url=worker.url) as control:
        await control.put("/fault", json={"kind": kind, "times": -1})
        try:
            assert len(await backend.embed(ROWS, timeout_seconds=5)) == 2
            with pytest.raises(error):
                await backend.embed([*ROWS, poison], timeout_seconds=5)
        finally:
            await control.delete("/fault")
    await backend.close()
