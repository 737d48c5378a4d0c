"""A driver runs a coroutine as a task would, but for its beginning."""

import asyncio

import pytest

from gateway.data_plane.api.driver import Driver


async def driven(coroutine, *, cancel: bool = False) -> Driver:
    """Start a coroutine from a callback of the loop, as a protocol does."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future = loop.create_future()
    results: asyncio.Queue = asyncio.Queue()

    def start() -> None:
        driver = Driver(coroutine, results.put_nowait, loop)
        driver.start()
        if cancel:
            assert driver.cancel(msg="as uvicorn does")
        made.set_result(driver)

    loop.call_soon(start)
    driver = await made
    driver_results[id(driver)] = results
    return driver


driver_results: dict[int, asyncio.Queue] = {}


async def result(driver: Driver) -> object:
    async with asyncio.timeout(30):
        return await driver_results.pop(id(driver)).get()


async def test_what_never_waits_is_done_at_once():
    async def work() -> str:
        return "done"

    driver = await driven(work())
    assert driver.done()
    assert await result(driver) == "done"
    assert not driver.cancel()


async def test_it_waits_for_futures_errors_and_turns():
    future = asyncio.get_running_loop().create_future()

    async def work() -> list[object]:
        await asyncio.sleep(0)
        found: list[object] = [await future]
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            found.append("late")
        found.append(await asyncio.create_task(asyncio.sleep(0, "a task")))
        return found

    driver = await driven(work())
    assert not driver.done()
    future.set_result("woken")
    assert await result(driver) == ["woken", "late", "a task"]


async def test_timeouts_work_before_it_first_waits_and_after():
    async def work() -> str:
        assert asyncio.current_task() is driver_of[0]
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
        return "went on"

    driver_of: list[object] = []
    coroutine = work()

    class Seen(Driver):
        def start(self) -> None:
            driver_of.append(self)
            super().start()

    loop = asyncio.get_running_loop()
    done: asyncio.Queue = asyncio.Queue()
    loop.call_soon(lambda: Seen(coroutine, done.put_nowait, loop).start())
    assert await done.get() == "went on"
    assert driver_of[0].cancelling() == 0


@pytest.mark.parametrize("waits", [asyncio.Event().wait, lambda: asyncio.sleep(0)])
async def test_a_cancellation_is_raised_where_it_waits(waits):
    seen = []

    async def work() -> str:
        try:
            await waits()
        except asyncio.CancelledError:
            seen.append("canceled")
            raise
        return "never"

    driver = await driven(work(), cancel=True)
    assert await result(driver) is None
    assert seen == ["canceled"]
    assert driver.done()


@pytest.mark.parametrize("waits", [asyncio.Event().wait, lambda: asyncio.sleep(0)])
async def test_a_cancellation_before_it_waits_is_raised_once_and_counted(waits):
    async def work() -> str:
        driver = asyncio.current_task()
        assert driver is not None
        driver.cancel()
        assert driver.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await waits()
        await asyncio.create_task(asyncio.sleep(0))
        await asyncio.sleep(0)
        assert driver.uncancel() == 0
        return "finished"

    assert await result(await driven(work())) == "finished"


async def test_a_cancellation_while_it_runs_again_is_raised_at_its_next_wait():
    """What it waited for is over, so that can't be canceled instead."""
    woken = asyncio.get_running_loop().create_future()

    async def work() -> str:
        await woken
        driver = asyncio.current_task()
        assert driver is not None
        driver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        return "finished"

    driver = await driven(work())
    woken.set_result(None)
    assert await result(driver) == "finished"


async def test_it_may_outlive_a_cancellation():
    async def work() -> str:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return "finished"

    assert await result(await driven(work(), cancel=True)) == "finished"


async def test_a_mistake_is_told_to_the_loop():
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def work() -> None:
        await asyncio.sleep(0)
        raise KeyError("ours")

    assert await result(await driven(work())) is None
    assert isinstance(told[0]["exception"], KeyError)
