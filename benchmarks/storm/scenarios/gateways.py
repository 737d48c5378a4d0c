"""Gateways go wrong: they are killed, stand still, have wrong clocks, and are replaced."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from benchmarks.storm.registry import scenario
from benchmarks.storm.scenarios.database import SHORT_LEASES
from benchmarks.storm.storm import Storm
from benchmarks.storm.template import CREDIT_NANOS, add_customer

KILLS = 4
_AT_KILL = 4
"""Most charges that one kill may cut from their answers."""
_ROUNDS = 2
DRAINING = {"GATEWAY_DRAIN_SECONDS": "3"}
"""Longer than the balancer takes to see that a gateway is not ready."""
_SKEW_SECONDS = 600
_SHIM = Path(__file__).parents[3] / "testing" / "skewed.c"


@scenario("Gateways", unasked=KILLS * _AT_KILL)
async def gateways_are_killed(storm: Storm) -> None:
    """One of the two is killed with SIGKILL and started again, four times in turn.

    A charge and its answer can be cut from each other here: the limit that the README names.
    """
    async with storm.load(), storm.fault():
        for kill in range(KILLS):
            await asyncio.sleep(storm.choose.uniform(0.2, 1.0))
            await storm.deployment.gateways[kill % 2].kill()
            await asyncio.sleep(storm.choose.uniform(0.0, 0.5))
            await storm.deployment.gateways[kill % 2].start()


@scenario("Gateways", unasked=_AT_KILL)
async def a_gateway_is_killed_while_postgresql_is_away(storm: Storm) -> None:
    """PostgreSQL is away for 10 seconds, and a gateway is killed with what is in its journal."""
    victim = storm.deployment.gateways[0]
    async with storm.load(), storm.fault():
        async with storm.deployment.postgres.away():
            await storm.last(8)
            await victim.kill()
            await storm.last(2)
        await victim.start()


@scenario("Gateways", unasked=_AT_KILL, whole_seconds=15)
async def a_gateway_stands_still(storm: Storm) -> None:
    """One is stopped for 14 seconds, longer than its clients wait, and goes on.

    What it does for clients that were served elsewhere meanwhile is not charged.
    """
    await storm.through(storm.deployment.gateways[0].hanging(), seconds=14)


@scenario("Gateways", unasked=_AT_KILL, whole_seconds=15, settings=SHORT_LEASES)
async def a_gateway_stands_still_until_its_leases_are_gone(storm: Storm) -> None:
    """The same for 30 seconds, with leases of 25: others have got its credit when it goes on."""
    await storm.through(storm.deployment.gateways[0].hanging(), seconds=30)


@scenario("Gateways")
async def a_clock_is_fast(storm: Storm) -> None:
    """The clock of one is 10 minutes ahead, Valkey is away, and a key is revoked."""
    await _with_a_wrong_clock(storm, _SKEW_SECONDS)


@scenario("Gateways")
async def a_clock_is_slow(storm: Storm) -> None:
    """The clock of one is 10 minutes behind, Valkey is away, and a key is revoked."""
    await _with_a_wrong_clock(storm, -_SKEW_SECONDS)


@scenario("Gateways", settings=DRAINING)
async def gateways_are_replaced(storm: Storm) -> None:
    """Each gets SIGTERM and is started anew, one after the other, twice: rolling restarts.

    No connection may be refused or end before its answer, so no request is even retried.
    """
    async with storm.load(), storm.fault():
        for _ in range(_ROUNDS):
            await storm.deployment.roll()
    nothing_is_retried(storm)


def nothing_is_retried(storm: Storm) -> None:
    """Expect that no client noticed anything."""
    seen = storm.record.refused(since=storm.loaded_at)
    lost = sum(target.lost for target in storm.deployment.balancer.targets)
    storm.expect(f"nothing is refused or cut: {dict(seen)}, {lost}", holds=not seen and not lost)


async def _with_a_wrong_clock(storm: Storm, seconds: int) -> None:
    deployment = storm.deployment
    shim = deployment.folder / "skewed.so"
    build = ["cc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(_SHIM), "-ldl"]
    await asyncio.to_thread(subprocess.run, build, check=True)
    victim = deployment.gateways[0]
    await victim.stop()
    victim.environment |= {"LD_PRELOAD": os.fspath(shim), "SKEW_SECONDS": str(seconds)}
    await victim.start()
    async with deployment.database() as database:
        revoked = await add_customer(database, "whose key is revoked", CREDIT_NANOS)
    for gateway in deployment.gateways:
        worked = await storm.clients.status(revoked, gateway.url)
        storm.expect(f"a new key works, not {worked}", holds=worked == 200)
    async with storm.load(), storm.fault(), deployment.valkey.away():
        await storm.last(3)
        status, said = await deployment.command(
            "keys", "revoke", revoked.key_id, "--reason", "a storm"
        )
        storm.expect(f"the command succeeds: {said}", holds=status == 0)
        await storm.last(3)
        for gateway in deployment.gateways:
            worked = await storm.clients.status(revoked, gateway.url)
            storm.expect(f"a revoked key is refused, not {worked}", holds=worked == 401)
