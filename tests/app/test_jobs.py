"""Jobs repeat, survive their own failures, and end when told."""

import asyncio

from structlog.testing import capture_logs

from gateway.app.jobs import Jobs
from gateway.wings import Job


async def test_a_job_that_fails_runs_again():
    runs = asyncio.Semaphore(0)

    async def fail() -> None:
        runs.release()
        raise RuntimeError("boom")

    jobs = Jobs([Job("failing", 0.001, fail)])
    with capture_logs() as logs:
        await jobs.start()
        async with asyncio.timeout(10):
            for _ in range(5):
                await runs.acquire()
        await jobs.stop()
    assert [line["event"] for line in logs] == ["job fails"]  # said once, not at every turn


async def test_stopping_ends_a_job_in_the_middle():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    jobs = Jobs([Job("hanging", 0.001, hang)])
    await jobs.start()
    async with asyncio.timeout(10):
        await begun.wait()
        await jobs.stop()
    assert ended.is_set()
