"""What the suite runs: three faults in a few seconds."""

from __future__ import annotations

import asyncio

from benchmarks.storm.registry import SHORT, scenario
from benchmarks.storm.storm import Storm

_MOST_CUT = 5
_COLD = {"503 credit_unavailable": 0.05, "503 authentication_unavailable": 0.05}
"""For good, while the gateway that comes back knows nobody, on a machine that is busy."""


@scenario(SHORT, fails=_COLD, unasked=_MOST_CUT, whole_seconds=120)
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
