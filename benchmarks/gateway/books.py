"""The gateway's databases: a model that the stand-in serves, funded organizations, and keys."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select

from gateway.control_plane.accounts import mac_secrets, organizations
from gateway.control_plane.back_office import pinning
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import catalog
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.data_plane.auth import keys
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from gateway.storage.tables import api_keys, usage_events
from testing.gateways import SECRET, STELLA

_CREDIT_NANOS = 10**15
_ROWS_AT_ONCE = 1_000


class Spent(NamedTuple):
    """What the ledger says."""

    requests: int
    nanos: int


def prepare(url: str, worker_url: str, *, owners: int, keys_each: int) -> list[str]:
    """Fill an empty database; return the keys, neighbors being of different organizations."""
    return asyncio.run(_prepare(url, worker_url, owners, keys_each))


def spent(url: str) -> Spent:
    """Return what was charged so far."""
    return asyncio.run(_spent(url))


def broken(url: str) -> list[str]:
    """Return the names of the invariants that are broken."""
    return asyncio.run(_broken(url))


async def _prepare(url: str, worker_url: str, owners: int, keys_each: int) -> list[str]:
    database = Database(url)
    await migrate.upgrade(database)
    async with database.write() as connection:
        await catalog.seed(connection)
        await catalog.set_state(connection, STELLA, "live")
        names = [(await organizations.create(connection, f"bench {n}")).id for n in range(owners)]
        for name in names:
            await credit.grant(connection, name, _CREDIT_NANOS, kind="paid")
    await pinning.pin(database, COMMAND_LINE, STELLA, worker_url, reason="a benchmark")
    async with database.read() as connection:
        mac_secret = await mac_secrets.signing(connection)
    made = [(keys.mint(mac_secret.secret), name) for _ in range(keys_each) for name in names]
    left: Iterator[dict[str, Any]] = (
        _row(secret, name) | {"mac_secret_id": mac_secret.id} for secret, name in made
    )
    while some := list(itertools.islice(left, _ROWS_AT_ONCE)):
        async with database.write() as connection:
            await connection.execute(insert(api_keys), some)
    await database.close()
    return [secret for secret, _ in made]


def _row(secret: str, owner: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": new_id(), "organization_id": owner, "name": "bench", "last_four": secret[-4:],
        "digest": Keyring(SECRET).digest(secret), "created_at": now, "changed_at": now,
    }  # fmt: skip


async def _spent(url: str) -> Spent:
    database = Database(url)
    query = select(func.count(), func.coalesce(func.sum(usage_events.c.charged_nanos), 0))
    async with database.read() as connection:
        requests, nanos = (await connection.execute(query)).one()
    await database.close()
    return Spent(int(requests), int(nanos))


async def _broken(url: str) -> list[str]:
    database = Database(url)
    async with database.read() as connection:
        names = [breach.invariant.name for breach in await invariants.audit(connection)]
    await database.close()
    return names
