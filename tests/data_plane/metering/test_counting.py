"""Long texts are counted on threads, in turns of the organizations."""

import asyncio
import threading

from gateway.data_plane.metering.tokens import CountingThreads


async def test_one_organization_leaves_room_for_the_others():
    counting = CountingThreads(2)
    blocked = threading.Event()
    hog = [asyncio.create_task(counting.run("hog", blocked.wait)) for _ in range(5)]
    async with asyncio.timeout(10):
        assert await counting.run("other", lambda: 7) == 7
    hog[0].cancel()  # who leaves has the thread until it is free
    async with asyncio.timeout(10):
        assert await counting.run("other", lambda: 8) == 8
    blocked.set()
    assert all(await asyncio.gather(*hog[1:]))
    counting.close()


async def test_threads_that_take_nothing_more_leave_nobody_waiting():
    counting, blocked = CountingThreads(1), threading.Event()
    turns = [asyncio.create_task(counting.run("one", blocked.wait)) for _ in range(3)]
    await asyncio.sleep(0)  # the first has the thread
    blocked.set()
    counting.close()
    async with asyncio.timeout(10):
        first, *others = await asyncio.gather(*turns, return_exceptions=True)
    assert first is True
    assert [type(other) for other in others] == [RuntimeError] * 2
