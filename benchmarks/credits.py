"""Debits a second: leases against a row-per-request UPDATE, in one run on one PostgreSQL.

    python -m benchmarks.credits [--seconds 8] [--clients 64]

Each client reserves and settles in a closed loop, and waits until its usage is durable. Another
figure is the CPU time of a reserve and settle in memory, which the data plane spends on a request.
PostgreSQL runs with its default durability: fsync and synchronous_commit are on.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import uvloop
from sqlalchemy import insert

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.leases import Lease, LeaseRules
from gateway.data_plane.metering.port import Charge
from gateway.identifiers import new_id
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import grants, invariants, partitions
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.tables import api_keys, model_prices, models, organizations
from testing import servers

TOKENS = 300
COST_NANOS = TOKENS * 8
CREDIT_NANOS = 10**12
MODEL, PRICE = "model", new_id()

Debit = Callable[[Charge], Awaitable[None]]


async def prepare(database: Database, accounts: int) -> list[tuple[str, str]]:
    """Add organizations with credit and a key each; return their ids."""
    now = datetime.now(UTC)
    owners = [(new_id(), new_id()) for _ in range(accounts)]
    async with database.write() as connection:
        for organization_id, key_id in owners:
            await connection.execute(
                insert(organizations).values(id=organization_id, name="bench", created_at=now)
            )
            await connection.execute(
                insert(api_keys).values(
                    id=key_id, organization_id=organization_id, name="bench",
                    digest=key_id.encode(), last_four="0000", created_at=now, changed_at=now,
                )
            )  # fmt: skip
            await grants.open_account(connection, organization_id)
            await grants.grant(
                connection, organization_id, CREDIT_NANOS, kind="paid", source_ref=new_id()
            )
    return owners


def charge_of(owner: tuple[str, str]) -> Charge:
    """Return the charge of a request of one owner."""
    return Charge(
        request_id=new_id(), organization_id=owner[0], key_id=owner[1], model_id=MODEL,
        price_id=PRICE, inputs=1, tokens=TOKENS, cost_nanos=COST_NANOS,
    )  # fmt: skip


async def measure(
    debit: Debit, owners: list[tuple[str, str]], clients: int, seconds: float
) -> tuple[float, float, float]:
    """Return debits a second, and the p50 and p99 of a debit in milliseconds."""
    turn = itertools.cycle(owners)
    times: list[float] = []
    end = time.monotonic() + seconds

    async def client() -> None:
        while (began := time.monotonic()) < end:
            await debit(charge_of(next(turn)))
            times.append(time.monotonic() - began)

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed = time.monotonic() - began
    times.sort()
    p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
    return len(times) / elapsed, p50, p99


async def rows(url: str, owners: list[tuple[str, str]], clients: int, seconds: float) -> None:
    """Measure the usual way: a transaction a request, which updates the balance and adds a row."""
    pool = await asyncpg.create_pool(url, min_size=16, max_size=16)
    await pool.execute("CREATE TABLE IF NOT EXISTS plain (id uuid PRIMARY KEY, balance bigint)")
    await pool.execute(
        "CREATE TABLE IF NOT EXISTS plain_usage (id uuid PRIMARY KEY, account uuid, key uuid, "
        "model text, price uuid, inputs int, tokens int, cost bigint, created_at timestamptz)"
    )
    await pool.executemany(
        "INSERT INTO plain VALUES ($1, $2)", [(owner, CREDIT_NANOS) for owner, _ in owners]
    )

    async def debit(charge: Charge) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetchval(
                "UPDATE plain SET balance = balance - $2 WHERE id = $1 AND balance >= $2 "
                "RETURNING balance", charge.organization_id, charge.cost_nanos,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO plain_usage VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())",
                charge.request_id, charge.organization_id, charge.key_id, charge.model_id,
                charge.price_id, charge.inputs, charge.tokens, charge.cost_nanos,
            )  # fmt: skip

    report("a row a request", len(owners), *await measure(debit, owners, clients, seconds))
    await pool.close()


async def leases(
    database: Database, folder: Path, owners: list[tuple[str, str]], clients: int, seconds: float
) -> None:
    """Measure the engine as the gateway runs it."""
    ledger = PostgresLedger(database)
    journal = Journal(folder, new_id(), bytes_max=10**9, segment_bytes=4_194_304)
    engine = LeasedCredits(ledger, journal)
    await engine.start()

    async def debit(charge: Charge) -> None:
        await engine.reserve(charge)
        await engine.settle(charge)

    report("leases, committed", len(owners), *await measure(debit, owners, clients, seconds))
    await engine.close()
    await ledger.close()
    async with database.read() as connection:
        breaches = await invariants.audit(connection)
    print(f"    {breaches or 'every invariant holds'}")


def in_memory(rounds: int = 200_000) -> None:
    """Measure the CPU time of a reserve and settle, without an event loop or a database."""
    book = LeaseBook(LeaseRules(), time.monotonic)
    owner = (new_id(), new_id())
    purse = book.purse(owner[0])
    lease = purse.lease = Lease(new_id(), purse)
    lease.free, lease.deadline = CREDIT_NANOS, float("inf")
    charges = [charge_of(owner) for _ in range(rounds)]
    began = time.process_time()
    for charge in charges:
        book.reserve(charge)
        book.settle(charge)
    spent = time.process_time() - began
    print(f"reserve + settle in memory: {spent / rounds * 1e6:.2f} us of CPU")


def report(name: str, accounts: int, rate: float, p50: float, p99: float) -> None:
    """Print one measurement."""
    hot = "1 hot account" if accounts == 1 else f"{accounts} accounts"
    print(f"{name:20} {hot:15} {rate:8.0f}/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")


async def run(url: str, clients: int, seconds: float) -> None:
    """Measure both ways, with one account and with many."""
    database = Database(url)
    await migrate.upgrade(database)
    await partitions.maintain(database, retention_days=400)
    now = datetime.now(UTC)
    async with database.write() as connection:
        await connection.execute(
            insert(models).values(id=MODEL, state="live", card="{}", created_at=now)
        )
        await connection.execute(
            insert(model_prices).values(
                id=PRICE, model_id=MODEL, nanos_per_million_tokens=8_000_000, created_at=now
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        for accounts in (1, 1000):
            owners = await prepare(database, accounts)
            await rows(url, owners, clients, seconds)
            await leases(database, Path(folder), owners, clients, seconds)
    await database.close()


def main() -> None:
    """Run the command line's measurements on a PostgreSQL of their own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=64)
    chosen = parser.parse_args()
    in_memory()
    with servers.postgresql() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(url, chosen.clients, chosen.seconds))


if __name__ == "__main__":
    main()
