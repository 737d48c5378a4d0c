"""What an audit of the books reads and takes, as they grow: `python -m benchmarks.audit`.

A PostgreSQL of its own is filled in SQL to each size. Then the books are audited in whole, as
`gateway audit` does, sealed by the job, and audited by the job once more, after 1,000 entries and
100 requests came. Rows are those that PostgreSQL's statistics say were read; the fuller the books,
the more a whole audit reads, and a run of the job must not.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import structlog
import uvloop
from sqlalchemy import text

from gateway.control_plane.billing.audit import audit
from gateway.control_plane.trail import audits
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from testing import servers

OWNERS = 1_000
DAYS = 30
_SQL = Path(__file__).with_suffix(".sql")
_TABLES = ("ledger_entries", "usage_events", "usage_hours", "usage_days", "leases")


class Run(NamedTuple):
    """One audit: how long it took, and the rows that it read of each table."""

    seconds: float
    rows: dict[str, int]

    def line(self, name: str) -> str:
        """Return a row of the table in docs/benchmarks/audit.md."""
        others = sum(self.rows.values()) - sum(self.rows.get(table, 0) for table in _TABLES)
        cells = [f"{self.rows.get(table, 0):,}" for table in _TABLES]
        return f"| {name} | {' | '.join([*cells, f'{others:,}'])} | {self.seconds:.2f} |"


async def fill(database: Database, entries: int, first: int, *, is_first: bool) -> None:
    """Add leases, entries and usage up to a number of entries; `first` leases are there."""
    leases = entries // 1_000
    async with database.read() as connection:
        position = await connection.scalar(text("SELECT max(position) FROM usage_events")) or 0
    values = {"OWNERS": OWNERS, "DAYS": DAYS, "LEASES": leases, "FIRST": first,
              "POSITION": position}  # fmt: skip
    for step in _SQL.read_text().split("-- step: ")[1:]:
        name, _, script = step.partition("\n")
        if name in ("names", "partitions", "owners") and not is_first:
            continue
        for word, value in values.items():
            script = script.replace(word, str(value))
        async with database.write() as connection:
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None
            await raw.driver_connection.execute(script)


async def watched(database: Database, *, is_job: bool) -> Run:
    """Audit the books, and read from the statistics which rows that took."""
    async with database.write() as connection:
        await connection.execute(text("SELECT pg_stat_reset()"))
    began = time.monotonic()
    if is_job:
        assert await audit(database)
        async with database.read() as connection:
            broken = (await audits.latest(connection))["ledger"].breaches
    else:
        async with database.read() as connection:
            broken = {
                one.invariant.name: one.culprits for one in await invariants.audit(connection)
            }
    seconds = time.monotonic() - began
    assert not broken, broken
    await database.engine.dispose()  # a connection that ends tells its statistics
    rows: dict[str, int] = {}
    query = text(
        "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
    )
    async with database.read() as connection:
        for name, read in await connection.execute(query):
            table = "usage_events" if name.startswith("usage_events") else name
            rows[table] = rows.get(table, 0) + read
    return Run(seconds, rows)


async def run(url: str, sizes: list[int]) -> None:
    """Fill, audit and print, size by size."""
    database = Database(url, is_patient=True)
    await migrate.upgrade(database)
    print(f"| audit | {' | '.join(_TABLES)} | all others | seconds |")
    print(f"| --- |{' ---: |' * (len(_TABLES) + 2)}")
    first = 0
    for entries in sizes:
        await fill(database, entries, first, is_first=first == 0)
        print((await watched(database, is_job=False)).line(f"{entries:,} entries, in whole"))
        print((await watched(database, is_job=True)).line("the job, since its last seal"))
        await fill(database, entries + 1_000, entries // 1_000, is_first=False)
        print((await watched(database, is_job=True)).line("the job, 1,000 entries later"))
        first = entries // 1_000 + 1
    await database.close()


def main() -> None:
    """Measure the sizes of the command line on a PostgreSQL of their own, on disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--entries", type=int, nargs="+", default=[1_000_000, 10_000_000, 30_000_000]
    )
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="stella-audit-") as folder:
        data = servers.initialise_postgres(Path(folder))
        port = servers.free_port()
        server = servers.start_postgres(data, port, is_durable=False)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
                runner.run(run(url, chosen.entries))
        finally:
            server.terminate()
            server.wait(timeout=30)


if __name__ == "__main__":
    main()
