"""Jobs repeat, survive their own failures, and end when told."""

import asyncio
import time

from prometheus_client import generate_latest
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
    told = generate_latest().decode()
    assert 'gateway_job_failures_total{name="failing"} 5.0' in told
    assert 'last_success_timestamp_seconds{name="failing"}' not in told


async def test_metrics_say_when_a_job_last_went_well():
    wake, runs = asyncio.Event(), asyncio.Semaphore(0)

    async def run() -> None:
        runs.release()

    began = time.time()
    jobs = Jobs([Job("well", 3600, run, wake)])
    await jobs.start()
    async with asyncio.timeout(10):
        for _ in range(2):  # the second begins when the first is counted
            wake.set()
            await runs.acquire()
    await jobs.stop()
    told = generate_latest().decode()
    assert 'gateway_job_failures_total{name="well"} 0.0' in told
    (line,) = (one for one in told.splitlines() if 'timestamp_seconds{name="well"}' in one)
    assert began <= float(line.split()[1]) <= time.time()


async def test_a_job_has_its_own_time():
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    jobs = Jobs([Job("slow", 0.001, hang, timeout_seconds=0.001)])
    await jobs.start()
    async with asyncio.timeout(10):
        await ended.wait()
    await jobs.stop()


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


async def test_a_job_that_is_woken_does_not_wait_for_its_turn():
    wake, runs = asyncio.Event(), asyncio.Semaphore(0)

    async def run() -> None:
        runs.release()

    jobs = Jobs([Job("woken", 3600, run, wake)])
    await jobs.start()
    async with asyncio.timeout(10):
        for _ in range(3):
            wake.set()
            await runs.acquire()
    assert not wake.is_set()
    await jobs.stop()


async def test_what_comes_during_a_run_is_not_forgotten():
    wake, goes_on, runs = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)

    async def run() -> None:
        runs.release()
        await goes_on.wait()

    jobs = Jobs([Job("woken", 3600, run, wake)])
    await jobs.start()
    async with asyncio.timeout(10):
        wake.set()
        await runs.acquire()
        wake.set()  # while it runs
        goes_on.set()
        await runs.acquire()
    await jobs.stop()


async def test_a_job_whose_driver_loses_its_cancellation_ends_too():
    begun, runs = asyncio.Event(), 0

    async def lose_it() -> None:
        nonlocal runs
        runs += 1
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if runs > 1:
                raise
            # else as `asyncio.wait_for` does on Python 3.11, if what it waited for is done now

    jobs = Jobs([Job("busy", 0.001, lose_it)])
    await jobs.start()
    await begun.wait()
    async with asyncio.timeout(10):
        await jobs.stop()
    assert runs == 1
