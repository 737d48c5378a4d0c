"""Inputs that workers fail on: refused, failing, or the end of each worker that reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from benchmarks.faults.lab import Findings, Lab
from benchmarks.faults.processes import FakeWorker, Fleet
from gateway.snapshots import WorkerState


async def poisoned(fleet: Fleet, seed: int, kind: str, requests: int = 10) -> Findings:
    """An input that makes every worker fail, sent among good ones."""
    async with Lab(fleet, seed=seed) as lab:
        for worker in lab.workers:
            await worker.fault(kind)
        for _ in range(requests):
            await lab.burst(30, lab.poison())
        assert lab.count("failed_in_company") > 0, "the poison travelled alone"
        assert all(
            "RowsRefused" in error or "AllAttemptsFailed" in error for error in lab.errors
        ), lab.errors
        ready = sum(view.state is WorkerState.READY for view in lab.pool.workers())
        assert ready >= 2, "a poison took the workers out"
        return lab.at_rest(errors=requests)


async def deadly(
    fleet: Fleet, seed: int, kind: str, requests: int = 5, seconds: float = 0.0
) -> Findings:
    """An input that ends each worker `seconds` after it came, sent among good ones, and again."""
    async with Lab(fleet, seed=seed) as lab, _restarted(lab, kind, seconds) as left:
        for _ in range(requests):
            poison, before, hedges = lab.poison(), len(left), lab.count("hedges")
            await lab.burst(30, poison)
            await lab.whole()
            lost = len(left) - before
            doubled = lab.count("hedges") > hedges
            assert lost <= 2 + doubled, f"it ended {lost} workers"
            await lab.burst(30, poison)
            assert len(left) == before + lost, "it was sent again"
        assert all(left), "it ended the last worker"
        assert all("FatalInput" in error for error in lab.errors), lab.errors
        return {**lab.at_rest(errors=2 * requests), "lost": len(left)}


@contextlib.asynccontextmanager
async def _restarted(lab: Lab, kind: str, seconds: float) -> AsyncIterator[list[int]]:
    """Give each worker a fault, and start those that end again; how many were left, each time."""
    left: list[int] = []
    fault = msgspec.json.encode({"kind": kind, "times": -1, "seconds": seconds}).decode()

    async def restart(worker: FakeWorker) -> None:
        while True:
            await worker.ended()
            left.append(sum(other.runs for other in lab.workers))
            await worker.start("--fault", fault)

    for worker in lab.workers:
        await worker.fault(kind, seconds=seconds)
    tasks = [asyncio.create_task(restart(worker)) for worker in lab.workers]
    try:
        yield left
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
