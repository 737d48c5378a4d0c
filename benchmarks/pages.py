"""The server's time for each page, with much behind it: models, votes, and months of usage in sums.

    python -m benchmarks.pages [--requests 200] [--database sqlite|postgresql] [--models 10000]

The application runs in this process with its jobs, on a fresh database. A page's time is that from
the ASGI call to the last byte of the body, so it has everything but the network: the session, the
queries, the template. The pages are asked for in turn, one at a time. Then, how long the event loop
stands still for what every process does again and again: reading the catalogue and the votes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import Table, delete, func, insert, select, text

from gateway.app import build
from gateway.app.process import Process
from gateway.control_plane.catalog import catalog
from gateway.data_plane.tallies import BOUNDS_MS
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.tables import (
    answer_hours,
    api_keys,
    demand_votes,
    model_prices,
    organizations,
    usage_hours,
    users,
)
from gateway.storage.tables import models as models_table
from testing import servers
from testing.browsing import Browser, sign_in

STELLA = "NovaSearch/stella_en_400M_v5"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PAGES = [
    "/", "/models", f"/models/{STELLA}", f"/models/{MINILM}", "/compare", "/calculator", "/status",
    "/docs", "/docs/reference", "/sign-in", "/console", "/console/usage", "/console/usage?days=90",
    "/console/keys", "/console/ledger", "/console/votes", "/console/settings", "/sitemap.xml",
    "/sitemap.xml?part=1",
    "/models?q=small+7&state=coming_soon&dimensions=768&sort=votes", "/models?page=2&sort=newest",
    "/models?price=0.02&tokens=512&license=MIT&sort=price", "/v1/models",
]  # fmt: skip
GOAL_SECONDS = 0.030
_ROWS_AT_ONCE = 5_000
_WARMUP = 5

Job = Callable[[], Awaitable[None]]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much is behind the pages."""

    models: int = 10_000
    """Beside those that were reviewed, coming soon, without a page of their own."""
    votes: int = 20_000
    own_votes: int = 40
    """Of the visitor, each for another model."""
    requests: int = 10_000_000
    """Of the visitor's own organization."""
    days: int = 90
    keys: int = 4
    shards: int = 2
    """Processes that served it: each writes hourly sums of its own."""
    latencies: int = 6
    """Different ones in each hour, of successes and of errors."""
    others: int = 50
    """Organizations beside it, with a sum in each hour."""


class Timed:
    """An application that notes how long each answer took."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        started = time.perf_counter()
        await self._app(scope, receive, send)
        self.seconds = time.perf_counter() - started


async def fill(gateway: Process, size: Size) -> dict[str, int]:
    """Fill the database behind the one organization there is; return what is there then."""
    async with gateway.core.database.read() as connection:
        own = str(await connection.scalar(select(organizations.c.id)))
    now = datetime.now(UTC)
    names = [new_id() for _ in range(size.others)]
    keys = [(new_id(), owner) for owner in [own] * size.keys + names]
    await _insert(
        gateway.core.database,
        organizations,
        ({"id": i, "name": "other", "created_at": now} for i in names),
    )
    await _insert(gateway.core.database, api_keys, (_key(key, owner, now) for key, owner in keys))
    people = [new_id() for _ in range(size.votes)]
    await _insert(
        gateway.core.database,
        users,
        (
            {"id": i, "email": f"{i}@e.org", "address_key": i, "created_at": now, "welcome": ""}
            for i in people
        ),
    )
    await fill_catalogue(gateway.core.database, size.models)
    await gateway.core.catalog.refresh()
    await gateway.core.fleet.refresh()
    catalogue = cycle(gateway.core.catalog().models)
    await _insert(
        gateway.core.database, demand_votes, (_vote(i, next(catalogue), now) for i in people)
    )
    async with gateway.core.database.read() as connection:
        visitor = (await connection.execute(select(users.c.id, users.c.address_key).limit(1))).one()
    own_votes = (
        {**_vote(visitor.id, model, now), "voter_key": visitor.address_key}
        for model in islice(gateway.core.catalog().models, size.own_votes)
    )
    await _insert(gateway.core.database, demand_votes, own_votes)
    await _insert(gateway.core.database, usage_hours, _hours(size, keys, now))
    await _insert(gateway.core.database, answer_hours, _answers(size, own, now))
    if not gateway.core.database.is_sqlite:  # which autovacuum does by itself, a minute later
        async with gateway.core.database.write() as connection:
            await connection.execute(text("ANALYZE"))
    await gateway.core.demand_counts.refresh()
    gc.unfreeze()
    gc.freeze()  # as a process does that starts with all of these models
    return await _counted(gateway.core.database, own)


async def fill_catalogue(database: Database, count: int) -> None:
    """Add models that differ in everything that a search asks for."""
    now = datetime.now(UTC)
    ids = [f"lab-{n % 97}/embed-{('small', 'base', 'large')[n % 3]}-{n}" for n in range(count)]
    cards = [
        catalog.ModelCard(
            owned_by=f"lab-{n % 97}",
            license=("MIT", "Apache-2.0", "CC-BY-4.0")[n % 3],
            dimensions=[256, (384, 768, 1024, 2048)[n % 4]],
            dimensions_default=256,
            tokens_max=(256, 512, 8192)[n % 3],
            vocabulary_sha256=catalog.reviewed()[n % 2].vocabulary_sha256,
            prompts={"query": "query: "},
        )
        for n in range(count)
    ]
    rows = (
        {"id": i, "state": "coming_soon", "card": msgspec.json.encode(card).decode(),
         "created_at": now - timedelta(hours=n)}
        for n, (i, card) in enumerate(zip(ids, cards, strict=True))
    )  # fmt: skip
    prices = (
        {"id": new_id(), "model_id": i, "tier": tier, "created_at": now,
         "nanos_per_million_tokens": (n % 40 + 1) * 1_000_000}
        for n, i in enumerate(ids) for tier in ("default", "flex")
    )  # fmt: skip
    await _insert(database, models_table, rows)
    await _insert(database, model_prices, prices)


async def _insert(database: Database, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    left = iter(rows)
    while some := list(islice(left, _ROWS_AT_ONCE)):
        async with database.write() as connection:
            await connection.execute(insert(table), some)


def _key(key_id: str, owner: str, now: datetime) -> dict[str, Any]:
    return {
        "id": key_id, "organization_id": owner, "name": "bench", "digest": key_id.encode(),
        "last_four": "0000", "created_at": now, "changed_at": now,
    }  # fmt: skip


def _vote(user_id: str, model_id: str, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(), "model_id": model_id, "user_id": user_id, "voter_key": user_id,
        "use_case": "search", "created_at": now,
    }  # fmt: skip


def _hours(size: Size, keys: list[tuple[str, str]], now: datetime) -> Iterator[dict[str, Any]]:
    """Spread the requests over every hour, key, model and process; the rest goes to the first."""
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=n) for n in range(size.days * 24)]
    places = list(product(hours, keys[: size.keys], (STELLA, MINILM), range(size.shards)))
    each, rest = divmod(size.requests, len(places))
    for index, place in enumerate(places):
        yield _hour(*place, each + (rest if index == 0 else 0))
    for hour, key in product(hours, keys[size.keys :]):
        yield _hour(hour, key, MINILM, 0, 1)


def _hour(
    hour: datetime, key: tuple[str, str], model_id: str, shard: int, requests: int
) -> dict[str, Any]:
    return {
        "organization_id": key[1], "hour": hour, "key_id": key[0], "model_id": model_id,
        "shard": shard, "requests": requests, "inputs": requests, "tokens": 300 * requests,
        "charged_nanos": 2_400 * requests,
    }  # fmt: skip


def _answers(size: Size, owner: str, now: datetime) -> Iterator[dict[str, Any]]:
    hours = (now - timedelta(hours=n) for n in range(size.days * 24))
    for hour, status_class, bound in product(hours, (2, 4), BOUNDS_MS[: size.latencies]):
        yield {
            "organization_id": owner, "hour": hour.replace(minute=0, second=0, microsecond=0),
            "status_class": status_class, "latency_ms": bound, "answers": 100,
        }  # fmt: skip


async def _counted(database: Database, own: str) -> dict[str, int]:
    hours = select(func.count(), func.sum(usage_hours.c.requests))
    async with database.read() as connection:
        votes = await connection.scalar(select(func.count()).select_from(demand_votes))
        every = (await connection.execute(hours)).one()
        answered = await connection.scalar(select(func.count()).select_from(answer_hours))
        mine = (await connection.execute(hours.where(usage_hours.c.organization_id == own))).one()
        listed = await connection.scalar(select(func.count()).select_from(models_table))
    return {
        "models": int(listed or 0),
        "votes": int(votes or 0),
        "hourly rows": every[0],
        "requests behind them": int(every[1]),
        "hourly rows of the visitor": mine[0],
        "requests of the visitor": int(mine[1]),
        "hourly rows of the visitor's answers": int(answered or 0),
    }


async def measure(
    timed: Timed, browser: Browser, stranger: Browser, requests: int
) -> dict[str, list[float]]:
    """Return the seconds of each page, sorted; the sign-in is shown to strangers alone."""
    seconds: dict[str, list[float]] = {page: [] for page in PAGES}
    for turn in range(requests + _WARMUP):
        for page in PAGES:
            answer = await (stranger if page == "/sign-in" else browser).get(page)
            assert answer.status_code == 200, (page, answer.text)
            if turn >= _WARMUP:
                seconds[page].append(timed.seconds)
    return {page: sorted(some) for page, some in seconds.items()}


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
    jobs = {
        "catalogue, nothing new": (nothing, refresh), "catalogue, a new price": (reprice, refresh),
        "votes, nothing new": (nothing, interest), "votes, one less": (vote, interest),
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
        measured = await measure(timed, browser, stranger, requests)
        jobs = await measure_jobs(gateway, requests)
        await browser.close()
        await stranger.close()
    print(
        f"\n| page | p50 ms | p99 ms | under {GOAL_SECONDS * 1000:.0f} |\n| --- | --- | --- | --- |"
    )
    for page, seconds in measured.items():
        p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
        print(f"| {page} | {p50 * 1000:.1f} | {p99 * 1000:.1f} | {_verdict(p99)} |")

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
