"""Long texts are counted on threads, in turns of the organizations."""

import asyncio
import threading

import pytest

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
    counting = CountingThreads(1)
    counting.close()
    for _ in range(2):
        async with asyncio.timeout(10):
            with pytest.raises(RuntimeError):
                await counting.run("organization", lambda: 7)
