"""The server's time for each page, with much behind it: votes, and months of usage in hourly sums.

    python -m benchmarks.pages [--requests 200] [--database sqlite|postgresql]

The application runs in this process with its jobs, on a fresh database. A page's time is that from
the ASGI call to the last byte of the body, so it has everything but the network: the session, the
queries, the template. The pages are asked for in turn, one at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import Table, func, insert, select, text

from gateway.app import Gateway, create_app
from gateway.control_plane.catalog import models
from gateway.data_plane.metering.answers import BOUNDS_MS
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.tables import (
    answer_hours,
    api_keys,
    demand_votes,
    organizations,
    usage_hours,
    users,
)
from tests.support import servers
from tests.support.browsing import Browser, sign_in

STELLA = "NovaSearch/stella_en_400M_v5"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PAGES = [
    "/", "/models", f"/models/{STELLA}", f"/models/{MINILM}", "/compare", "/calculator", "/status",
    "/docs", "/docs/reference", "/sign-in", "/console", "/console/usage", "/console/usage?days=90",
    "/console/keys", "/console/ledger", "/console/votes", "/console/settings",
]  # fmt: skip
GOAL_SECONDS = 0.030
_ROWS_AT_ONCE = 5_000
_WARMUP = 5


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much is behind the pages."""

    votes: int = 10_000
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


async def fill(gateway: Gateway, size: Size) -> dict[str, int]:
    """Fill the database behind the one organization there is; return what is there then."""
    async with gateway.database.read() as connection:
        own = str(await connection.scalar(select(organizations.c.id)))
    now = datetime.now(UTC)
    names = [new_id() for _ in range(size.others)]
    keys = [(new_id(), owner) for owner in [own] * size.keys + names]
    await _insert(
        gateway.database,
        organizations,
        ({"id": i, "name": "other", "created_at": now} for i in names),
    )
    await _insert(gateway.database, api_keys, (_key(key, owner, now) for key, owner in keys))
    people = [new_id() for _ in range(size.votes)]
    await _insert(
        gateway.database,
        users,
        (
            {"id": i, "email": f"{i}@e.org", "address_key": i, "created_at": now, "welcome": ""}
            for i in people
        ),
    )
    catalogue = cycle(model.id for model in models.reviewed())
    await _insert(gateway.database, demand_votes, (_vote(i, next(catalogue), now) for i in people))
    await _insert(gateway.database, usage_hours, _hours(size, keys, now))
    await _insert(gateway.database, answer_hours, _answers(size, own, now))
    if not gateway.database.is_sqlite:  # which autovacuum does by itself, a minute later
        async with gateway.database.write() as connection:
            await connection.execute(text("ANALYZE"))
    await gateway.marketplace.interest.refresh()
    return await _counted(gateway.database, own)


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
    return {
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


async def run(url: str, requests: int, size: Size) -> None:
    """Fill and measure one database, and print a table."""
    database = Database(url)
    await migrate.upgrade(database)
    async with database.write() as connection:
        await models.seed(connection)
    await database.close()
    app = create_app(Settings(secret="s" * 32, database_url=url, dev_mail=True))
    gateway: Gateway = app.state.gateway
    async with gateway.running():
        timed = Timed(app)
        browser, stranger = Browser(timed), Browser(timed)
        await sign_in(browser, gateway, "ada@example.org")
        for name, count in (await fill(gateway, size)).items():
            print(f"{name}: {count:,}")
        measured = await measure(timed, browser, stranger, requests)
        await browser.close()
        await stranger.close()
    print(
        f"\n| page | p50 ms | p99 ms | under {GOAL_SECONDS * 1000:.0f} |\n| --- | --- | --- | --- |"
    )
    for page, seconds in measured.items():
        p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
        print(f"| {page} | {p50 * 1000:.1f} | {p99 * 1000:.1f} | {_verdict(p99)} |")


def _verdict(seconds: float) -> str:
    return "yes" if seconds < GOAL_SECONDS else "**no**"


def main() -> None:
    """Read the command line, and run on a database of our own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'pages.db'}"
        if chosen.database == "postgresql":
            url = stack.enter_context(servers.postgresql())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(url, chosen.requests, Size()))


if __name__ == "__main__":
    main()
