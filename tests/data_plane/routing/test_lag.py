"""The event loop's own lateness."""

import asyncio
import time

from gateway.data_plane.routing.pool import LoopLag


async def test_a_blocked_loop_is_known_before_its_timer_runs():
    lag = LoopLag(tick_seconds=0.01, memory_seconds=1.0)
    lag.start()
    await asyncio.sleep(0)
    time.sleep(0.15)  # noqa: ASYNC251 - that is what is measured
    assert lag.seconds() > 0.1
    await asyncio.sleep(0.02)
    assert lag.seconds() > 0.1, "and remembered"
    await lag.close()
    assert lag.seconds() == 0
