"""The runner of background jobs.

A job that fails is logged and runs again at its next turn; one that hangs is canceled. Metrics say
how often each failed, and when it last succeeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

import structlog

from gateway.observability import metrics
from gateway.wings import Job

log = structlog.get_logger()


class Jobs:
    """Runs jobs until stopped."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Start; each job first runs after its interval, or once it is woken."""
        self._tasks = [asyncio.create_task(self._repeat(job), name=job.name) for job in self._jobs]

    async def stop(self) -> None:
        """Cancel all jobs, running ones too."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, job: Job) -> None:
        failing = False
        metrics.name_job(job.name, job.seconds)
        # Python 3.11 loses a cancellation that comes just as what `wait_for` waits for is done
        while not self._stopping:
            # jitter, so that the jobs of many processes don't all come at once
            await _turn(job, job.seconds * random.uniform(0.9, 1.1))  # noqa: S311
            try:
                async with asyncio.timeout(job.timeout_seconds):
                    await job.run()
            except Exception as error:  # noqa: BLE001 - whatever it was, there is a next turn
                if not failing:
                    log.error("job fails", job=job.name, reason=f"{type(error).__name__}: {error}")
                failing = True
                metrics.count_run(job.name, failed=True)
            else:
                if failing:
                    log.info("job works again", job=job.name)
                failing = False
                metrics.count_run(job.name, failed=False)


async def _turn(job: Job, seconds: float) -> None:
    """Wait until a job runs again: until its time has passed, or its event is set."""
    if job.wake is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await job.wake.wait()
    job.wake.clear()  # before the run: what comes during it needs another one
