"""A filled marketplace: models, votes, and months of usage in hourly sums."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, product
from typing import Any

import msgspec
from sqlalchemy import Table, func, insert, select, text

from gateway.app.process import Process
from gateway.control_plane.catalog import cards
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from gateway.data_plane.tallies import BOUNDS_MS
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import (
    answer_hours,
    api_keys,
    demand_votes,
    error_hours,
    incidents,
    latency_days,
    model_answers,
    model_prices,
    organizations,
    request_log,
    usage_hours,
    users,
)
from gateway.storage.tables import models as models_table
from testing.gateways import MODEL, STELLA

PAGES = [
    "/", "/models", f"/models/{STELLA}", f"/models/{MODEL}", "/compare", "/calculator",
    "/status", "/status.json",
    f"/playground/{MODEL}", f"/playground/{MODEL}?mode=search",
    "/docs", "/docs/reference", "/docs/errors", "/search?q=what+does+402+mean", "/changelog",
    "/sign-in", "/console", "/console/usage", "/console/usage?days=90",
    "/console/usage?days=90&metric=tokens&split=key", "/console/usage?days=2&split=model",
    "/console/usage?days=90&metric=errors&split=key", "/console/usage?days=90&metric=latency",
    "/console/usage?days=90&metric=latency&split=key",
    "/console/requests", "/console/requests?outcome=errors&model=nothing",
    f"/console/requests?id={new_id()}", "/console/errors",
    "/console/keys", "/console/keys/new", "/console/billing", "/console/billing/payments",
    "/console/ledger",
    "/console/alerts", "/console/webhooks", "/console/votes", "/console/settings", "/sitemap.xml",
    "/sitemap.xml?part=1",
    "/models?view=cards", "/models?sort=retrieval", "/models?q=beg-m3",
    "/models/collections/matryoshka", "/models/lab-7", f"/compare?model={STELLA}&model={MODEL}",
    "/ask?model=beg-m3", "/search?q=matryoshka",
    "/models?q=small+7&state=coming_soon&dimensions=768&sort=votes", "/models?page=2&sort=newest",
    "/models?price=0.02&tokens=512&license=MIT&sort=price", "/v1/models",
]  # fmt: skip
_ROWS_AT_ONCE = 5_000


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much the database holds."""

    models: int = 10_000
    """Besides the reviewed ones: coming soon, without a page of their own."""
    votes: int = 20_000
    own_votes: int = 40
    """By the visitor, each for a different model."""
    requests: int = 10_000_000
    """By the visitor's own organization."""
    days: int = 90
    keys: int = 4
    shards: int = 2
    """Processes that served them; each writes its own hourly sums."""
    latencies: int = 6
    """Different ones in each hour, for successes and for errors."""
    logged: int = 10_000
    """Single requests of the visitor's organization: a log that is full."""
    codes: int = 5
    """Different errors of each key in each hour."""
    others: int = 50
    """Other organizations, with a sum in each hour."""


async def fill(gateway: Process, size: Size) -> dict[str, int]:
    """Fill the database around its one organization, and return the counts."""
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
    await fill_catalog(gateway.core.database, size.models)
    await gateway.core.catalog.refresh()
    await gateway.core.fleet.refresh()
    catalog = cycle(gateway.core.catalog().models)
    await _insert(
        gateway.core.database, demand_votes, (vote(i, next(catalog), now) for i in people)
    )
    async with gateway.core.database.read() as connection:
        visitor = (await connection.execute(select(users.c.id, users.c.address_key).limit(1))).one()
    own_votes = (
        {**vote(visitor.id, model, now), "voter_key": visitor.address_key}
        for model in islice(gateway.core.catalog().models, size.own_votes)
    )
    await _insert(gateway.core.database, demand_votes, own_votes)
    await _insert(gateway.core.database, usage_hours, _hours(size, keys, now))
    await _insert(gateway.core.database, answer_hours, _answers(size, own, now))
    await _insert(gateway.core.database, model_answers, _model_answers(size, now))
    await _insert(gateway.core.database, latency_days, _latencies(size, own, keys, now))
    await _insert(gateway.core.database, incidents, _incidents(size, now))
    await _insert(gateway.core.database, error_hours, _errors(size, own, keys, now))
    await _insert(gateway.core.database, request_log, _logged(size, own, keys, now))
    if not gateway.core.database.is_sqlite:  # which autovacuum does by itself, a minute later
        async with gateway.core.database.write() as connection:
            await connection.execute(text("ANALYZE"))
    await gateway.core.demand_counts.refresh()
    await gateway.services.performances.refresh()
    await gateway.services.api_health.refresh()
    gc.unfreeze()
    gc.freeze()  # as a process does that starts with all of these models
    return await _counted(gateway.core.database, own)


async def fill_catalog(database: Database, count: int) -> None:
    """Add models that differ in everything a search can ask for."""
    now = datetime.now(UTC)
    ids = [f"lab-{n % 97}/embed-{('small', 'base', 'large')[n % 3]}-{n}" for n in range(count)]
    written = [
        cards.ModelCard(
            owned_by=f"lab-{n % 97}",
            license=("MIT", "Apache-2.0", "CC-BY-4.0")[n % 3],
            dimensions=[256, (384, 768, 1024, 2048)[n % 4]],
            dimensions_default=256,
            tokens_max=(256, 512, 8192)[n % 3],
            vocabulary_sha256=BERT_UNCASED_SHA256,
            prompts={"query": "query: "},
        )
        for n in range(count)
    ]
    rows = (
        {"id": i, "state": "coming_soon", "card": msgspec.json.encode(card).decode(),
         "created_at": now - timedelta(hours=n)}
        for n, (i, card) in enumerate(zip(ids, written, strict=True))
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


def vote(user_id: str, model_id: str, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(), "model_id": model_id, "user_id": user_id, "voter_key": user_id,
        "use_case": "search", "created_at": now,
    }  # fmt: skip


def _hours(size: Size, keys: list[tuple[str, str]], now: datetime) -> Iterator[dict[str, Any]]:
    """Spread the requests over every hour, key, model and process; the first gets the remainder."""
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=n) for n in range(size.days * 24)]
    places = list(product(hours, keys[: size.keys], (STELLA, MODEL), range(size.shards)))
    each, rest = divmod(size.requests, len(places))
    for index, place in enumerate(places):
        yield _hour(*place, each + (rest if index == 0 else 0))
    for hour, key in product(hours, keys[size.keys :]):
        yield _hour(hour, key, MODEL, 0, 1)


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


def _model_answers(size: Size, now: datetime) -> Iterator[dict[str, Any]]:
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = (last - timedelta(hours=n) for n in range(size.days * 24))
    bounds = BOUNDS_MS[: size.latencies]
    for hour, model_id, status_class, bound in product(hours, (MODEL, STELLA), (2, 4, 5), bounds):
        yield {
            "hour": hour, "model_id": model_id, "status_class": status_class, "latency_ms": bound,
            "answers": 1 if status_class == 5 else 100,
        }  # fmt: skip


def _latencies(
    size: Size, owner: str, keys: list[tuple[str, str]], now: datetime
) -> Iterator[dict[str, Any]]:
    days = (now.date() - timedelta(days=n) for n in range(size.days))
    own = [key for key, its_owner in keys if its_owner == owner]
    bounds = BOUNDS_MS[: size.latencies]
    for day, key, model_id, bound in product(days, own, (MODEL, STELLA), bounds):
        yield {
            "organization_id": owner, "day": day, "key_id": key, "model_id": model_id,
            "latency_ms": bound, "answers": 100,
        }  # fmt: skip


def _incidents(size: Size, now: datetime) -> Iterator[dict[str, Any]]:
    """One a day, of ten minutes each."""
    for day in range(size.days):
        start = now - timedelta(days=day, minutes=30)
        yield {
            "id": new_id(), "model_id": MODEL, "started_at": start,
            "ended_at": start + timedelta(minutes=10),
        }  # fmt: skip


def _errors(
    size: Size, owner: str, keys: list[tuple[str, str]], now: datetime
) -> Iterator[dict[str, Any]]:
    first = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=size.days)
    own = [key for key, its_owner in keys if its_owner == owner]
    for hour, key, code in product(range(size.days * 24), own, range(size.codes)):
        yield {
            "organization_id": owner, "hour": first + timedelta(hours=hour), "key_id": key,
            "model_id": MODEL, "status": 400 + code, "code": f"code_{code}", "errors": 10,
        }  # fmt: skip


def _logged(
    size: Size, owner: str, keys: list[tuple[str, str]], now: datetime
) -> Iterator[dict[str, Any]]:
    own = [key for key, its_owner in keys if its_owner == owner]
    for number in range(size.logged):
        is_error = number % 10 == 0
        yield {
            "organization_id": owner, "request_id": new_id(), "key_id": own[number % len(own)],
            "model_id": MODEL, "created_at": now, "status": 404 if is_error else 200,
            "code": f"code_{number % size.codes}" if is_error else "", "latency_ms": 40,
            "tokens": 100, "original_id": None, "missed": 7 if number % 100 == 0 else 0,
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
