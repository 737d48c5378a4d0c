"""Workers go wrong: they die, stand still, are slow, and lie."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence

from benchmarks.faults.processes import FakeWorker
from benchmarks.storm.registry import scenario
from benchmarks.storm.storm import Storm

_LIES = ("nan", "zero", "dimension", "foreign", "permuted", "missing", "truncated")
_LIE_SECONDS = 3.0
_WELL_SECONDS = 2.0
_CROSSING = 40
"""Most charges whose answer is on its way when its client gives up: all that was held is answered
at once, as the patience of the first ends. The busier the machine, the more of them."""
_HELD = {"503 model_warming": 0.5, "502 upstream_error": 0.2}


@contextlib.asynccontextmanager
async def _dead(workers: Sequence[FakeWorker]) -> AsyncIterator[None]:
    await asyncio.gather(*(worker.kill() for worker in workers))
    yield
    await asyncio.gather(*(worker.start() for worker in workers))


@contextlib.asynccontextmanager
async def _stopped(workers: Sequence[FakeWorker]) -> AsyncIterator[None]:
    for worker in workers:
        worker.send(signal.SIGSTOP)
    yield
    for worker in workers:
        worker.send(signal.SIGCONT)


@contextlib.asynccontextmanager
async def _faulty(
    workers: Sequence[FakeWorker], kind: str, *, seconds: float = 0.0
) -> AsyncIterator[None]:
    await asyncio.gather(*(worker.fault(kind, seconds=seconds) for worker in workers))
    yield
    await asyncio.gather(*(worker.heal() for worker in workers))


@scenario("Workers")
async def a_worker_is_killed(storm: Storm) -> None:
    """One of three is killed, and started again 5 seconds later; then the next one."""
    async with storm.load():
        for worker in storm.deployment.workers[:2]:
            async with storm.fault(), _dead([worker]):
                await storm.last(5)
            await asyncio.sleep(_WELL_SECONDS)


@scenario("Workers", fails=_HELD, unasked=_CROSSING)
async def all_workers_are_killed(storm: Storm) -> None:
    """All three are killed, and started again 5 seconds later. Requests are held meanwhile."""
    await storm.through(_dead(storm.deployment.workers), seconds=5)


@scenario("Workers")
async def a_worker_is_stopped(storm: Storm) -> None:
    """One of three stands still for 8 seconds: its port is open, and nothing answers."""
    await storm.through(_stopped(storm.deployment.workers[:1]))


@scenario("Workers", fails=_HELD, unasked=_CROSSING, whole_seconds=15)
async def all_workers_are_stopped(storm: Storm) -> None:
    """All three stand still for 8 seconds."""
    await storm.through(_stopped(storm.deployment.workers))


@scenario("Workers")
async def a_worker_is_slow(storm: Storm) -> None:
    """One of three becomes a hundred times slower for 8 seconds."""
    await storm.through(_faulty(storm.deployment.workers[:1], "crawl", seconds=2e-3))


@scenario("Workers")
async def a_worker_lies(storm: Storm) -> None:
    """One of three answers 200 with what is not the vectors of its inputs.

    For 3 seconds each: NaN, zeros, a wrong dimension, another text's vectors, permuted, too few,
    cut off.
    """
    worker = storm.deployment.workers[0]
    async with storm.load():
        for kind in _LIES:
            async with storm.fault(), _faulty([worker], kind):
                await storm.last(_LIE_SECONDS)
            await asyncio.sleep(_WELL_SECONDS)


@scenario("Workers", fails=_HELD, unasked=_CROSSING)
async def all_workers_lie(storm: Storm) -> None:
    """All three answer with NaN for 6 seconds."""
    await storm.through(_faulty(storm.deployment.workers, "nan"), seconds=6)


@scenario("Workers")
async def a_worker_fails(storm: Storm) -> None:
    """One of three answers 500 to everything for 6 seconds, within a millisecond."""
    await storm.through(_faulty(storm.deployment.workers[:1], "error"), seconds=6)


@scenario("Workers", fails=_HELD, unasked=_CROSSING)
async def all_workers_fail(storm: Storm) -> None:
    """All three answer 500 to everything for 10 seconds."""
    await storm.through(_faulty(storm.deployment.workers, "error"), seconds=10)


@scenario("Workers")
async def workers_are_busy(storm: Storm) -> None:
    """Two of three answer 429 to everything for 8 seconds."""
    await storm.through(_faulty(storm.deployment.workers[:2], "busy"))


@scenario("Workers")
async def another_model_comes_back(storm: Storm) -> None:
    """One is killed, and what comes back for 8 seconds computes another model's vectors."""
    worker = storm.deployment.workers[0]
    async with storm.load(), storm.fault():
        await worker.kill()
        await worker.start("--salt", "of another model")
        await storm.last(8)
        await worker.kill()
        await worker.start()
