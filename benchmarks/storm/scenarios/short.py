"""What the suite runs: three faults in a few seconds."""

from __future__ import annotations

import asyncio

from benchmarks.storm.registry import SHORT, scenario
from benchmarks.storm.scenarios.database import IDLE
from benchmarks.storm.storm import Storm


@scenario(SHORT, fails=IDLE, unasked=1)
async def the_short_form(storm: Storm) -> None:
    """A worker lies, PostgreSQL crashes, and a gateway is killed, one after the other."""
    deployment = storm.deployment
    async with storm.load(), storm.fault():
        await deployment.workers[0].fault("foreign")
        async with deployment.postgres.away():
            await asyncio.sleep(1.0)
        await deployment.workers[0].heal()
        await deployment.gateways[0].kill()
        await asyncio.sleep(0.5)
        await deployment.gateways[0].start()
