"""Life and death of real processes: warming, draining, killed, broken."""

import asyncio
import signal
import struct
from collections.abc import Iterator

import httpx
import pytest

from backends.process import BROKEN_EXIT_STATUS
from backends.protocol import Backend, TokenRow, WorkerBusy, WorkerFault, WorkerLost
from backends.registry import connect
from testing.processes import Process, running
from tests.backends.contract import HELLO
from tests.backends.stella.conftest import stella
from tests.backends.stella.fragile_worker import BREAK, HOLD
from tests.backends.stella.golden_set import TINY, Golden

GOLDEN = Golden(TINY)
SHORT, LONG = [TokenRow(HELLO, 1024)], [TokenRow(GOLDEN.ids(22), 1024)] * 18  # 9216 tokens


def row(second: int) -> TokenRow:
    return TokenRow(struct.pack("<3I", 101, second, 102), 8)


def tell(process: Process) -> None:
    assert process.child.stdin
    process.child.stdin.write("\n")
    process.child.stdin.flush()


async def hold(process: Process, backend: Backend) -> asyncio.Task[list[memoryview]]:
    """Keep the device busy until `tell`; returns once it is."""
    call = asyncio.ensure_future(backend.embed([row(HOLD)], timeout_seconds=30))
    assert process.child.stdout
    assert await asyncio.to_thread(process.child.stdout.readline) == "holding\n"
    return call


@pytest.fixture
def fragile() -> Iterator[Process]:
    with running("tests.backends.stella.fragile_worker") as process:
        yield process


@pytest.fixture
def warm(fragile: Process) -> Process:
    tell(fragile)
    fragile.wait_ready()
    return fragile


async def tokens_waiting(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("stella_queue_tokens "))


async def state(client: httpx.AsyncClient) -> tuple[int, str]:
    answer = await client.get("/ready")
    return answer.status_code, answer.json()["state"]


async def test_the_door_is_open_while_it_warms(fragile: Process):
    backend = connect(fragile.url)
    async with httpx.AsyncClient(base_url=fragile.url) as client:
        assert (await client.get("/live")).status_code == 200
        assert await state(client) == (503, "warming")
        assert (await client.get("/ready")).json()["reason"] == "weights: 40 %"
        text = await client.post("/v1/embeddings", json={"input": "hi"})
        assert (text.status_code, text.json()["error"]["code"]) == (503, "warming")
        with pytest.raises(WorkerBusy, match="warming"):
            await backend.embed([row(1)], timeout_seconds=5)
        tell(fragile)
        fragile.wait_ready()
        assert await state(client) == (200, "ready")
    assert len(await backend.embed([row(1)], timeout_seconds=5)) == 1
    await backend.close()


async def test_sigterm_while_warming_ends_it(fragile: Process):
    async with httpx.AsyncClient(base_url=fragile.url) as client:
        assert (await client.get("/live")).status_code == 200
    assert fragile.kill(signal.SIGTERM) == 0


async def test_sigterm_under_load_loses_nothing():
    with stella(TINY) as process:
        backend = connect(process.url)
        calls = [asyncio.ensure_future(backend.embed(LONG, timeout_seconds=60)) for _ in range(3)]
        await backend.embed(SHORT, timeout_seconds=60)
        assert not any(call.done() for call in calls)
        process.child.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*calls)
        assert [len(answer) for answer in answers] == [len(LONG)] * 3
        await backend.close()
        assert process.child.wait(timeout=30) == 0


async def test_sigterm_is_seen_at_once_and_what_is_in_flight_is_finished(warm: Process):
    backend = connect(warm.url)
    async with httpx.AsyncClient(base_url=warm.url) as client:
        held = await hold(warm, backend)
        waiting = asyncio.ensure_future(backend.embed([row(1)], timeout_seconds=30))
        while await tokens_waiting(client) != 3:
            assert not held.done()
        warm.child.send_signal(signal.SIGTERM)
        assert await state(client) == (503, "draining")
        assert (await client.get("/live")).status_code == 200
        tell(warm)
        assert len((await held)[0]) == len((await waiting)[0]) == 32
    await backend.close()
    assert warm.child.wait(timeout=30) == 0


async def test_kill_9_under_load_is_the_workers_fault():
    with stella(TINY) as process:
        backend = connect(process.url)
        calls = [asyncio.ensure_future(backend.embed(LONG, timeout_seconds=60)) for _ in range(3)]
        await backend.embed(SHORT, timeout_seconds=60)
        assert not any(call.done() for call in calls)
        assert process.kill() == -signal.SIGKILL
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, WorkerFault) for answer in answers)
        with pytest.raises(WorkerFault):
            await backend.info(timeout_seconds=5)
        await backend.close()


async def test_a_broken_device_answers_what_it_can_and_ends(warm: Process):
    backend = connect(warm.url)
    async with httpx.AsyncClient(base_url=warm.url) as client:
        held = await hold(warm, backend)
        broken = asyncio.ensure_future(backend.embed([row(BREAK)] * 5, timeout_seconds=30))
        waiting = asyncio.ensure_future(backend.embed([row(1)] * 5, timeout_seconds=30))
        while await tokens_waiting(client) < 30:
            assert not held.done()
        tell(warm)
        assert len(await held) == 1
        for call in (broken, waiting):
            with pytest.raises(WorkerLost, match="device-side assert"):
                await call
    await backend.close()
    assert warm.child.wait(timeout=30) == BROKEN_EXIT_STATUS


async def test_a_caller_that_hangs_up_frees_its_place(warm: Process):
    backend = connect(warm.url)
    async with httpx.AsyncClient(base_url=warm.url) as client:
        held = await hold(warm, backend)
        gone = asyncio.ensure_future(backend.embed([row(1)] * 8, timeout_seconds=30))
        while await tokens_waiting(client) < 24:
            assert not held.done()
        gone.cancel()
        await asyncio.wait([gone])
        while await tokens_waiting(client):
            assert not held.done()
        tell(warm)
        await held
    await backend.close()


async def test_a_full_queue_is_429_with_retry_after(warm: Process):
    backend = connect(warm.url)
    async with httpx.AsyncClient(base_url=warm.url) as client:
        held = await hold(warm, backend)
        waiting = [
            asyncio.ensure_future(backend.embed([row(1)] * 8, timeout_seconds=30)) for _ in range(2)
        ]
        while await tokens_waiting(client) < 48:
            assert not held.done()
        with pytest.raises(WorkerBusy, match="tokens are waiting already"):
            await backend.embed([row(1)] * 8, timeout_seconds=30)
        text = await client.post("/v1/embeddings", json={"input": ["a b c d e f g h"] * 2})
        assert text.status_code == 429
        assert float(text.headers["retry-after"]) > 0
        tell(warm)
        await asyncio.gather(held, *waiting)
    await backend.close()


async def test_ready_is_a_real_forward_pass():
    """`/ready` finds a device that can't compute, before any caller does."""
    with running("tests.backends.stella.fragile_worker") as process:
        tell(process)
        process.wait_ready()
        async with httpx.AsyncClient(base_url=process.url) as client:
            before = (await client.get("/metrics")).text
            assert "stella_rows_total 0.0" in before
            assert await state(client) == (200, "ready")
            assert "stella_rows_total 1.0" in (await client.get("/metrics")).text


def test_the_contracts_first_row_is_the_probe():
    from backends.stella.engine import PROBE_IDS

    assert PROBE_IDS == HELLO
