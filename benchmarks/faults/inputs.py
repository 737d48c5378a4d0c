"""Inputs that workers fail on: refused, failing, or the end of each worker that reads them."""

from __future__ import annotations

import time

from benchmarks.faults.lab import Findings, Lab
from benchmarks.faults.processes import Fleet
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


async def deadly(fleet: Fleet, seed: int, kind: str, requests: int = 5) -> Findings:
    """An input that ends every worker that it reaches, sent among good ones, and sent again."""
    async with Lab(fleet, seed=seed) as lab:
        lost = 0
        for _ in range(requests):
            for worker in lab.workers:
                await worker.fault(kind)
            poison, since = lab.poison(), time.monotonic()
            await lab.burst(30, poison)
            away = {view.url for view in lab.pool.workers() if view.state is not WorkerState.READY}
            ended = [worker for worker in lab.workers if worker.url in away]
            assert len(ended) <= 2, "it ended every worker"
            lost += len(ended)
            for worker in ended:
                await worker.ended()
                await worker.start()
                await lab.back(worker, since)
            for worker in lab.workers:
                await worker.fault(kind)
            await lab.burst(30, poison)
            assert all(worker.runs for worker in lab.workers), "it was sent again"
        assert all("FatalInput" in error for error in lab.errors), lab.errors
        return {**lab.at_rest(errors=2 * requests), "lost": lost}
