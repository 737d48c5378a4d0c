"""PostgreSQL goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

from benchmarks.storm import postgres
from benchmarks.storm.disk import Disk
from benchmarks.storm.processes import Gateway
from benchmarks.storm.registry import scenario
from benchmarks.storm.storm import Storm

_DATABASE_BYTES = 220_000_000
SHORT_LEASES = {"GATEWAY_LEASE_SECONDS": "25", "GATEWAY_LEDGER_AWAY_SECONDS_MAX": "25",
                "GATEWAY_REQUEST_TIMEOUT_SECONDS": "10"}  # fmt: skip
IDLE = {"503 credit_unavailable": 0.01}
"""Who asks a gateway for the first time in ten seconds has no lease there, and none can be had."""


@scenario("PostgreSQL", fails=IDLE)
async def postgresql_crashes(storm: Storm) -> None:
    """PostgreSQL crashes, as in a power failure, and is back after 8 seconds."""
    await storm.through(storm.deployment.postgres.away())


@scenario("PostgreSQL", fails={"503 credit_unavailable": 0.5}, settings=SHORT_LEASES)
async def postgresql_outlasts_the_leases(storm: Storm) -> None:
    """It crashes and is away for 28 seconds, with leases that live for 25.

    What is leased is served; then nothing is, for nobody could pay.
    """
    await storm.through(storm.deployment.postgres.away(), seconds=28)


@scenario("PostgreSQL", fails=IDLE, whole_seconds=15)
async def postgresql_hangs(storm: Storm) -> None:
    """All its processes are stopped for 12 seconds: connections are taken, nothing answers."""
    await storm.through(storm.deployment.postgres.hanging(), seconds=12)


@scenario("PostgreSQL", fails=IDLE, whole_seconds=15, settings={"GATEWAY_KEY_CACHE_SECONDS": "4"})
async def postgresql_hangs_while_keys_grow_stale(storm: Storm) -> None:
    """The same, with keys that are to be read again every 4 seconds of 60."""
    await storm.through(storm.deployment.postgres.hanging(), seconds=14)


@scenario("PostgreSQL", fails=IDLE)
async def postgresql_fails_over(storm: Storm) -> None:
    """It is killed, and a synchronous replica is promoted after 4 seconds.

    DATABASE_URL names both hosts, and asks for the one that can be written to.
    """
    first = storm.deployment.postgres
    second = await first.replica(storm.deployment.folder)
    storm.deployment.stack.callback(second.kill)
    hosts = "&".join(f"host=127.0.0.1:{one.port}" for one in (first, second))
    await storm.deployment.restart_gateways(
        DATABASE_URL=f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write"
    )
    async with storm.load(), storm.fault():
        await first.crash()
        storm.deployment.postgres = second
        await storm.last(4)
        await second.promote()


@scenario("PostgreSQL", fails=IDLE, whole_seconds=15)
async def postgresql_s_disk_is_full(storm: Storm) -> None:
    """Its disk has no byte left for 10 seconds; where that ends it, it is started again."""
    server = storm.deployment.postgres
    disk = storm.deployment.stack.enter_context(
        Disk.mounted(storm.deployment.folder / "disk", _DATABASE_BYTES)
    )
    await server.stop()
    data = disk.folder / "data"
    await asyncio.to_thread(shutil.copytree, server.data, data, symlinks=True)
    server.data = data
    await server.start()
    storm.deployment.stack.callback(server.kill)
    async with storm.load(), storm.fault():
        async with disk.full():
            await storm.last(10)
            ended = not server.runs
        if ended:
            await server.start()
    storm.notes.append("It ended." if ended else "It lived on.")


@scenario("PostgreSQL", fails=IDLE)
async def postgresql_has_no_connection_left(storm: Storm) -> None:
    """All connections are ended, and others take every one that there is for 10 seconds."""
    await storm.through(storm.deployment.postgres.full(), seconds=10)


@scenario("PostgreSQL", fails=IDLE)
async def postgresql_is_read_only(storm: Storm) -> None:
    """Every transaction is read-only for 10 seconds, as on a replica before it is promoted."""
    await storm.through(storm.deployment.postgres.read_only(), seconds=10)


@scenario("PostgreSQL", fails=IDLE)
async def one_organization_s_row_is_locked(storm: Storm) -> None:
    """A transaction holds the account of one organization for 15 seconds."""
    owner = storm.record.customers[0].organization_id
    lock = f"SELECT FROM accounts WHERE id = '{owner}' FOR UPDATE"
    await storm.through(storm.deployment.postgres.locked(lock), seconds=15)


@scenario("PostgreSQL", fails=IDLE)
async def a_dump_is_restored(storm: Storm) -> None:
    """`pg_dump` runs under load; what it wrote is restored, audited, and serves."""
    deployment = storm.deployment
    dump = deployment.folder / "dump"
    async with storm.load(), storm.fault():
        await postgres.run("pg_dump", "-Fc", "-f", str(dump), deployment.postgres.url)
    async with deployment.postgres.admin() as connection:
        await connection.execute("CREATE DATABASE restored")
    restored = deployment.postgres.url.removesuffix("/postgres") + "/restored"
    await postgres.run("pg_restore", "--exit-on-error", "-d", restored, str(dump))
    status, said = await deployment.command("audit", DATABASE_URL=restored)
    storm.expect(f"the restored books are right: {said}", holds=status == 0)
    async with _gateway_on(storm, restored) as gateway:
        before = len(storm.record.requests)
        await storm.everybody(gateway.url)
        asked, storm.record.requests[before:] = storm.record.requests[before:], []
    served = sum(request.served for request in asked)
    storm.expect(f"all are served from it, not {served}", holds=served == len(asked))
    storm.notes.append(f"Restored, it served {served} of {len(asked)}.")


@contextlib.asynccontextmanager
async def _gateway_on(storm: Storm, url: str) -> AsyncIterator[Gateway]:
    environment = {**storm.deployment.environment, "DATABASE_URL": url, "REDIS_URL": ""}
    gateway = Gateway(9, storm.deployment.folder, environment)
    storm.deployment.stack.callback(gateway.end)
    await gateway.start()
    yield gateway
    await gateway.stop()
