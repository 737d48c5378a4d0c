"""What a row takes on PostgreSQL's disk, indexes included, and what a tick writes to its log.

`python -m benchmarks.rows` prints the tables of docs/benchmarks/rows.md. Usage is written by real
ticks; the other tables are filled by statements with rows like theirs.
"""

from __future__ import annotations

import argparse
import asyncio

import msgspec
from sqlalchemy import text

from gateway.control_plane.catalog import catalog
from gateway.data_plane.metering.messages import LeaseLine, Tick, UsageLine
from gateway.identifiers import made_at_ms, new_id
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import partitions
from gateway.storage.ledger.postgres import PostgresLedger
from testing import servers
from testing.ledger import NANOS_PER_TOKEN, Customer, add_customer

_SIZE = text("""
SELECT pg_total_relation_size(CAST(:name AS regclass)) + coalesce((
    SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
    WHERE inhparent = CAST(:name AS regclass)), 0)""")
_FILLED = {
    "ledger_entries": """
        INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, counterpart,
            created_at)
        SELECT id, 'usage', concat(gen_random_uuid(), chr(58), i % 1000), 0, 'revenue', now()
        FROM organizations, generate_series(1, {rows}) AS i""",
    "paid_prints": """
        INSERT INTO paid_prints (key_id, print, request_id, is_once, expires_at)
        SELECT api_keys.id, translate(encode(sha256(i::text::bytea), 'base64'), '=', ''),
            gen_random_uuid(), false, now()
        FROM api_keys, generate_series(1, {rows}) AS i""",
    "receipt_roots": """
        INSERT INTO receipt_roots (id, size, root, previous, key_id, signature)
        SELECT gen_random_uuid(), 1, sha256(i::text::bytea), sha256(i::text::bytea),
            'abcdefghijklmnop', sha512(i::text::bytea)
        FROM generate_series(1, {rows}) AS i""",
    "usage_hours": """
        INSERT INTO usage_hours SELECT gen_random_uuid(), date_trunc('hour', now()),
            gen_random_uuid(), 'NovaSearch/stella_en_400M_v5', 1, 1, 1, 1, 1
        FROM generate_series(1, {rows}) AS i""",
}
_TICKS_OF = (1, 50, 500)


class Writer:
    """One process that ticks."""

    def __init__(self, database: Database, customer: Customer) -> None:
        self.ledger = PostgresLedger(database)
        self._customer = customer
        self._replica_id, self._lease_id = new_id(), new_id()
        self._number = 0

    async def lease(self) -> None:
        """Ask for credit."""
        ask = {"action": "ask", "id": self._lease_id, "least_nanos": 10**9, "target_nanos": 10**9}
        account = {"account_id": self._customer.organization_id}
        await self._tick(leases=msgspec.convert([ask | account], list[LeaseLine]))

    async def charge(self, requests: int) -> None:
        """Charge some requests in one tick."""
        lines = [self._line(new_id()) for _ in range(requests)]
        await self._tick(
            usage=[msgspec.Raw(msgspec.json.encode(line)) for line in lines],
            answered=[line.request_id for line in lines],
        )

    def _line(self, request_id: str) -> UsageLine:
        return UsageLine(
            request_id=request_id,
            organization_id=self._customer.organization_id,
            key_id=self._customer.key_id,
            model_id=self._customer.model_id,
            price_id=self._customer.price_id,
            inputs=1,
            tokens=1,
            cost_nanos=NANOS_PER_TOKEN,
            lease_id=self._lease_id,
            budget_id=None,
            budget_lease_id=None,
            created_ms=made_at_ms(request_id),
        )

    async def _tick(
        self,
        *,
        leases: list[LeaseLine] | None = None,
        usage: list[msgspec.Raw] | None = None,
        answered: list[str] | None = None,
    ) -> None:
        self._number += 1
        await self.ledger.tick(
            Tick(
                replica_id=self._replica_id,
                number=self._number,
                lease_seconds=90.0,
                shard=1,
                lease_ids=[self._lease_id],
                usage=usage or [],
                answered=answered or [],
                leases=leases or [],
            )
        )


async def measure(url: str, rows: int) -> None:
    """Fill a database and print what its rows take."""
    database = Database(url, is_patient=True)
    await migrate.upgrade(database)
    async with database.write() as connection:
        await catalog.seed(connection)
    await partitions.maintain(database, retention_days=400)
    writer = Writer(database, await add_customer(database, 10**9))
    await writer.lease()
    print("| requests in a tick | bytes of log a request |\n| ---: | ---: |")
    for requests in _TICKS_OF:
        before = await _number(database, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        ticks = max(rows // 10 // requests, 20)
        for _ in range(ticks):
            await writer.charge(requests)
        after = await _number(database, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        print(f"| {requests} | {(after - before) / ticks / requests:,.0f} |")
    before = await _size(database, "usage_events")
    for _ in range(rows // 500):
        await writer.charge(500)
    taken = (await _size(database, "usage_events") - before) / (rows // 500 * 500)
    await writer.ledger.close()
    print(f"\n| table | bytes a row |\n| --- | ---: |\n| usage_events | {taken:,.0f} |")
    for table, statement in _FILLED.items():
        sizes = {one: await _size(database, one) for one in (table, "usage_days")}
        async with database.write() as connection:
            await connection.execute(text(statement.format(rows=rows)))
        for one, size in sizes.items():
            if taken := (await _size(database, one) - size) / rows:
                print(f"| {one} | {taken:,.0f} |")
    await database.close()


async def _number(database: Database, query: str) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(text(query)))


async def _size(database: Database, table: str) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(_SIZE, {"name": table}))


def main() -> None:
    """Measure on a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    with servers.postgresql(is_durable=False) as url:
        asyncio.run(measure(url, rows))


if __name__ == "__main__":
    main()
