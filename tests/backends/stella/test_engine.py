"""The thread that computes, with a computer that waits for the test: events only, no clock."""

import asyncio
import struct
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from backends.engine import DeadlinePassed, EngineBroken, EngineBusy, EngineRefusal
from backends.protocol import TokenRow, WorkerInfo
from backends.stella.engine import StellaEngine
from backends.stella.metrics import Metrics

INFO = WorkerInfo(
    model="m", revision="r", dtype="float32", dimensions=(2,), tokens_max=16, rows_max=64,
    batch_tokens_max=40, vocabulary_sha256="", base_seconds=0.5, token_seconds=0.25,
)  # fmt: skip


def row(*ids: int) -> TokenRow:
    return TokenRow(struct.pack(f"<{len(ids)}I", *ids), 2)


class Gated:
    """Computes a batch each time the test opens the gate, and records the batches."""

    vocabulary_size = 1000

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.batches: list[list[bytes]] = []
        self.error: Exception | None = None

    def embed(self, rows: Sequence[TokenRow]) -> list[bytes]:
        self.batches.append([row.ids for row in rows])
        self.entered.release()
        assert self.gate.acquire(timeout=20)
        if self.error:
            raise self.error
        return [row.ids[:8] for row in rows]

    async def busy(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=20)


@pytest.fixture
def computer() -> Gated:
    return Gated()


@pytest.fixture
def engine(computer: Gated) -> Iterator[StellaEngine]:
    engine = StellaEngine(INFO, computer, Metrics(), batch_tokens=20)
    yield engine
    engine.close()
    computer.gate.release(100)


def soon() -> float:
    return time.monotonic() + 20


async def queued(*tasks: asyncio.Task) -> None:
    """Let the tasks run until they wait."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_batches_form_while_the_device_is_busy(engine: StellaEngine, computer: Gated):
    first = asyncio.create_task(engine.embed([row(1, 2)], soon()))
    await computer.busy()
    others = [asyncio.create_task(engine.embed([row(3, i)], soon())) for i in range(5)]
    await queued(first, *others)
    computer.gate.release(2)
    assert (await first).vectors == [row(1, 2).ids]
    answers = await asyncio.gather(*others)
    assert [answer.vectors for answer in answers] == [[row(3, i).ids] for i in range(5)]
    assert [len(batch) for batch in computer.batches] == [1, 5]
    assert answers[0].queue_seconds > 0
    assert answers[0].compute_seconds > 0


async def test_a_full_queue_is_busy_and_says_for_how_long(engine: StellaEngine, computer: Gated):
    first = asyncio.create_task(engine.embed([row(1)], soon()))
    await computer.busy()
    second = asyncio.create_task(engine.embed([row(*range(16)), row(*range(16))], soon()))
    await queued(second)
    with pytest.raises(EngineBusy) as caught:
        await engine.embed([row(*range(9))], soon())
    assert caught.value.retry_after_seconds == 0.5 + 32 * 0.25
    computer.gate.release(9)
    await asyncio.gather(first, second)


async def test_the_late_and_the_gone_are_never_computed(engine: StellaEngine, computer: Gated):
    first = asyncio.create_task(engine.embed([row(1)], soon()))
    await computer.busy()
    gone = asyncio.create_task(engine.embed([row(2)], soon()))
    late = asyncio.create_task(engine.embed([row(3)], time.monotonic()))
    last = asyncio.create_task(engine.embed([row(4)], soon()))
    await queued(gone, late, last)
    gone.cancel()
    await asyncio.wait([gone])
    computer.gate.release(9)
    with pytest.raises(DeadlinePassed):
        await late
    await asyncio.gather(first, last)
    assert computer.batches == [[row(1).ids], [row(4).ids]]


async def test_an_error_of_the_device_ends_it_all(engine: StellaEngine, computer: Gated, capfd):
    computer.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    first = asyncio.create_task(engine.embed([row(1)], soon()))
    await computer.busy()
    waiting = asyncio.create_task(engine.embed([row(2)], soon()))
    await queued(waiting)
    computer.gate.release()
    for task in (first, waiting):
        with pytest.raises(EngineBroken, match="illegal memory access"):
            await task
    with pytest.raises(EngineBroken):
        await engine.embed([row(3)], soon())
    assert len(computer.batches) == 1
    assert "Traceback" in capfd.readouterr().err


async def test_ids_outside_the_vocabulary_are_refused_before_the_device(
    engine: StellaEngine, computer: Gated
):
    with pytest.raises(EngineRefusal, match="1000"):
        await engine.embed([row(1), row(1000)], soon())
    assert computer.batches == []


async def test_no_rows_need_no_device(engine: StellaEngine):
    assert (await engine.embed([], soon())).vectors == []
