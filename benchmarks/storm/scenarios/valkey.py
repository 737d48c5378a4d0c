"""Valkey goes wrong, while a key is revoked that must not work again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import redis.asyncio

from benchmarks.storm.clients import Clients
from benchmarks.storm.record import Customer
from benchmarks.storm.registry import scenario
from benchmarks.storm.storm import Storm
from benchmarks.storm.template import CREDIT_NANOS, add_customer

_ASKS_SECONDS = 0.05


@scenario("Valkey")
async def valkey_is_away(storm: Storm) -> None:
    """Valkey is killed for 10 seconds, and a key is revoked meanwhile.

    It must be refused at both gateways within a second of the command's return, as it promises.
    """
    await _revoking(storm, storm.deployment.valkey.away())


@scenario("Valkey")
async def valkey_hangs(storm: Storm) -> None:
    """Valkey stands still for 10 seconds, and a key is revoked meanwhile."""
    await _revoking(storm, storm.deployment.valkey.hanging())


@scenario("Valkey")
async def valkey_is_flushed(storm: Storm) -> None:
    """Valkey forgets everything, twice a second for 10 seconds; a key is revoked meanwhile."""
    await _revoking(storm, _flushed(storm.deployment.valkey.url))


@contextlib.asynccontextmanager
async def _flushed(url: str) -> AsyncIterator[None]:
    async def flush() -> None:
        async with redis.asyncio.from_url(url) as client:
            while True:
                await client.flushall()
                await asyncio.sleep(0.5)

    flushing = asyncio.create_task(flush())
    yield
    flushing.cancel()


async def _revoking(storm: Storm, fault: contextlib.AbstractAsyncContextManager[None]) -> None:
    async with storm.deployment.database() as database:
        victim = await add_customer(database, "whose key is revoked", CREDIT_NANOS)
    async with storm.load(), storm.fault(), fault:
        watching = [
            asyncio.create_task(_works_until(storm.clients, victim, gateway.url))
            for gateway in storm.deployment.gateways
        ]
        await storm.last(4)
        status, said = await storm.deployment.command(
            "keys", "revoke", victim.key_id, "--reason", "a storm"
        )
        returned = storm.clients.now()
        storm.expect(f"the command succeeds: {said}", holds=status == 0)
        lasts = await asyncio.gather(*watching)
        await storm.last(2)
    late = max(lasts) - returned
    storm.expect(f"a revoked key is refused within a second, not {late:.2f} s", holds=late < 1)
    when = f"{late:.1f} s after" if late > 0 else f"{-late:.1f} s before"
    storm.notes.append(f"The last 200 of the revoked key was {when} its return.")


async def _works_until(clients: Clients, victim: Customer, url: str) -> float:
    """Use a key at a gateway until it is refused; return when it last worked."""
    last = clients.now()
    for _ in itertools.count():
        began = clients.now()
        status = await clients.status(victim, url)
        if status == 401:
            return last
        if status == 200:
            last = began
        await asyncio.sleep(_ASKS_SECONDS)
    raise AssertionError
