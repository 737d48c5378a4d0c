"""The server's time for each page, with much behind it: models, votes, and months of usage in sums.

    python -m benchmarks.pages [--requests 200] [--database sqlite|postgresql] [--models 10000]

The application runs in this process with its jobs, on a fresh database. A page's time is that from
the ASGI call to the last byte of the body, so it has everything but the network: the session, the
queries, the template. The pages are asked for in turn, one at a time. The least time on the CPU
that a page took of this process is printed too: with other work on the machine it says more. Then,
how long the event loop stands still for what every process does again and again: reading the
catalog and the votes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import delete, select

from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.catalog import catalog
from gateway.settings import Settings
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.tables import (
    demand_votes,
)
from testing import servers
from testing.browsing import Browser, sign_in
from testing.gateways import STELLA
from testing.marketplace import PAGES, Size, fill

GOAL_SECONDS = 0.030
_WARMUP = 5

Job = Callable[[], Awaitable[None]]


class Timed:
    """An application that notes how long each answer took, and on the CPU, with its jobs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.seconds = self.cpu_seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        started, used = time.perf_counter(), time.process_time()
        await self._app(scope, receive, send)
        self.seconds = time.perf_counter() - started
        self.cpu_seconds = time.process_time() - used


async def measure(
    timed: Timed, browser: Browser, stranger: Browser, requests: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of each page, sorted, and the least of its seconds on the CPU.

    The sign-in is shown to strangers alone.
    """
    seconds: dict[str, list[float]] = {page: [] for page in PAGES}
    least = dict.fromkeys(PAGES, float("inf"))
    for turn in range(requests + _WARMUP):
        for page in PAGES:
            answer = await (stranger if page == "/sign-in" else browser).get(page)
            assert answer.status_code == 200, (page, answer.text)
            if turn >= _WARMUP:
                seconds[page].append(timed.seconds)
                least[page] = min(least[page], timed.cpu_seconds)
    return {page: sorted(some) for page, some in seconds.items()}, least


async def measure_jobs(gateway: Process, rounds: int) -> dict[str, list[float]]:
    """Return the seconds for which the loop stood still, sorted, for what repeats by itself."""

    async def reprice() -> None:
        turn = next(prices)
        async with gateway.core.database.write() as connection:
            await catalog.set_price(connection, STELLA, turn)

    async def vote() -> None:
        async with gateway.core.database.write() as connection:
            await connection.execute(delete(demand_votes).where(demand_votes.c.id == next(votes)))

    async def refresh() -> None:
        await gateway.core.catalog.refresh()
        await gateway.core.fleet.refresh()
        gateway.services.shelves()

    async def nothing() -> None:
        """Let nothing change."""

    prices = iter(range(9_000_000, 9_000_000 + rounds))
    async with gateway.core.database.read() as connection:
        some = await connection.scalars(select(demand_votes.c.id).limit(rounds))
        votes = iter(some.all())
    interest = gateway.core.demand_counts.refresh
    service = gateway.services.performances.refresh
    jobs = {
        "catalog, nothing new": (nothing, refresh), "catalog, a new price": (reprice, refresh),
        "votes, nothing new": (nothing, interest), "votes, one less": (vote, interest),
        "performance of the models": (nothing, service),
    }  # fmt: skip
    return {
        name: sorted([await _stillness(before, job) for _ in range(rounds)])
        for name, (before, job) in jobs.items()
    }


async def _stillness(before: Job, job: Job) -> float:
    """Return the longest time between two turns of the loop while a job runs."""
    await before()
    task = asyncio.ensure_future(job())
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await task
    return longest


async def run(url: str, requests: int, size: Size) -> None:
    """Fill and measure one database, and print a table."""
    database = Database(url)
    await migrate.upgrade(database)
    async with database.write() as connection:
        await catalog.seed(connection)
    await database.close()
    gateway = build(Settings(secret="s" * 32, database_url=url, dev_mail=True))
    async with gateway.running():
        timed = Timed(gateway.app)
        browser, stranger = Browser(timed), Browser(timed)
        await sign_in(browser, gateway, "ada@example.org")
        for name, count in (await fill(gateway, size)).items():
            print(f"{name}: {count:,}")
        measured, least = await measure(timed, browser, stranger, requests)
        jobs = await measure_jobs(gateway, requests)
        await browser.close()
        await stranger.close()
    print(
        f"\n| page | p50 ms | p99 ms | under {GOAL_SECONDS * 1000:.0f} | CPU ms |"
        "\n| --- | --- | --- | --- | --- |"
    )
    for page, seconds in measured.items():
        p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
        times = f"{p50 * 1000:.1f} | {p99 * 1000:.1f} | {_verdict(p99)} | {least[page] * 1000:.1f}"
        print(f"| {page} | {times} |")

    print("\n| the loop stands still | p50 ms | p99 ms |\n| --- | --- | --- |")
    for job, seconds in jobs.items():
        p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
        print(f"| {job} | {p50 * 1000:.1f} | {p99 * 1000:.1f} |")


def _verdict(seconds: float) -> str:
    return "yes" if seconds < GOAL_SECONDS else "**no**"


def main() -> None:
    """Read the command line, and run on a database of our own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--models", type=int, default=Size().models)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'pages.db'}"
        if chosen.database == "postgresql":
            url = stack.enter_context(servers.postgresql())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(url, chosen.requests, Size(models=chosen.models)))


if __name__ == "__main__":
    main()
