"""The server's time and the queries of each page of the back office, with a crowd behind it.

    python -m benchmarks.admin [--organizations 10000] [--requests 20]

A fresh PostgreSQL is filled with organizations, ten ledger entries each, and 300 models; the full
size is --organizations 1000000. Then every page under /admin is asked for in turn, one at a time,
by an owner. The time is that from the ASGI call to the last byte; the queries are what the page
sends to the database; CPU is that of this process alone, which other work on the machine does not
change. Ends with 1 when a page (not a CSV) sends more than QUERIES_MAX, or fails.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextvars import ContextVar
from typing import Any, NamedTuple

import uvloop
from sqlalchemy import event

from benchmarks.pages import Timed
from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.billing.audit import audit
from gateway.control_plane.catalog import catalog
from gateway.control_plane.status import traffic
from gateway.settings import Settings
from gateway.storage import migrate
from gateway.storage.database import Database
from testing import servers
from testing.admin_pages import addresses, examples
from testing.browsing import Browser
from testing.crowd import Crowd, gather
from testing.operators import sign_in_operator

GOAL_SECONDS = 0.100
QUERIES_MAX = 10
_WARMUP = 1
_asking: ContextVar[bool] = ContextVar("asking", default=False)


class Measured(NamedTuple):
    """One address: its queries, its seconds, and those of this process's CPU; both sorted."""

    address: str
    queries: int
    seconds: list[float]
    cpu_seconds: list[float]


async def measure(
    gateway: Process, timed: Timed, browser: Browser, pages: list[str], requests: int
) -> list[Measured]:
    """Ask for each page in turn, again and again."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if _asking.get() and not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    event.listen(gateway.core.database.engine.sync_engine, "before_cursor_execute", note)
    _asking.set(True)
    found = {page: Measured(page, 0, [], []) for page in pages}
    for turn in range(requests + _WARMUP):
        for page in pages:
            statements.clear()
            began = time.process_time()
            answer = await browser.get(page)
            cpu_seconds = time.process_time() - began
            if answer.status_code != 200:
                sys.exit(f"{page}: {answer.status_code}")
            if turn >= _WARMUP:
                queries = max(found[page].queries, len(statements))
                found[page].seconds.append(timed.seconds)
                found[page].cpu_seconds.append(cpu_seconds)
                found[page] = found[page]._replace(queries=queries)
    return [
        one._replace(seconds=sorted(one.seconds), cpu_seconds=sorted(one.cpu_seconds))
        for one in found.values()
    ]


async def run(url: str, crowd: Crowd, requests: int) -> bool:
    """Fill and measure one database, print a table, and tell whether each page may stay."""
    patient = Database(url, is_patient=True)
    await migrate.upgrade(patient)
    async with patient.write() as connection:
        await catalog.seed(connection)
    for name, seconds in await gather(patient, crowd):
        print(f"filled: {name}, {seconds:.1f} s")
    for name, job in (("traffic", traffic.sum_up), ("ranking", traffic.rank), ("audit", audit)):
        began = time.monotonic()
        await job(patient)
        print(f"job: {name}, {time.monotonic() - began:.1f} s")
    shown = await examples(patient)
    await patient.close()
    gateway = build(Settings(secret="s" * 32, database_url=url, dev_mail=True))
    async with gateway.running():
        timed = Timed(gateway.app)
        browser = Browser(timed)
        await sign_in_operator(browser, gateway, "ops@example.com")
        pages = list(addresses(gateway.app, shown))
        measured = await measure(gateway, timed, browser, pages, requests)
        await browser.close()
    return _tell(measured)


def _tell(measured: list[Measured]) -> bool:
    print("\n| page | queries | CPU p50 ms | p50 ms | p99 ms | under 100 ms |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for one in measured:
        cpu = one.cpu_seconds[len(one.cpu_seconds) // 2]
        p50, p99 = (one.seconds[int(len(one.seconds) * share)] for share in (0.5, 0.99))
        times = " | ".join(f"{seconds * 1000:.1f}" for seconds in (cpu, p50, p99))
        verdict = "yes" if p99 < GOAL_SECONDS else "**no**"
        print(f"| {one.address} | {one.queries} | {times} | {verdict} |")
    # a file is read in parts, a query each
    pages = [one for one in measured if "format=csv" not in one.address]
    over = [one.address for one in pages if one.queries > QUERIES_MAX]
    most = max(one.queries for one in pages)
    print(f"\n{len(pages)} pages, {most} queries at most")
    for address in over:
        print(f"too many queries: {address}")
    return not over


def main() -> None:
    """Read the command line, and run on a database of our own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--organizations", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=Crowd().models)
    chosen = parser.parse_args()
    crowd = Crowd(organizations=chosen.organizations, models=chosen.models)
    # only reading is measured, so what is filled in need not survive a crash
    with (
        servers.postgresql(is_durable=False) as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        if not runner.run(run(url, crowd, chosen.requests)):
            sys.exit(1)


if __name__ == "__main__":
    main()
