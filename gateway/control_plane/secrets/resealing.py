"""What is stored encrypted, sealed again under the first secret of GATEWAY_SECRET."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Column, Table, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.secrets import lasting
from gateway.control_plane.secrets.making import makes
from gateway.keyring import Keyring
from gateway.sealing import Seal
from gateway.storage.database import Database
from gateway.storage.tables import authenticators, lasting_secrets, webhook_endpoints

_AT_ONCE = 200
"""Texts of one transaction."""


class SealedColumn(NamedTuple):
    """Where sealed texts are, and whose each is."""

    kind: str
    table: Table
    owner: Column[Any]
    column: Column[Any]
    purpose: str


SEALED_COLUMNS = (
    SealedColumn(
        "webhooks",
        webhook_endpoints,
        webhook_endpoints.c.id,
        webhook_endpoints.c.secret,
        "webhooks",
    ),
    SealedColumn(
        "webhooks",
        webhook_endpoints,
        webhook_endpoints.c.id,
        webhook_endpoints.c.secret_before,
        "webhooks",
    ),
    SealedColumn(
        "authenticators",
        authenticators,
        authenticators.c.user_id,
        authenticators.c.sealed,
        "authenticators",
    ),
    SealedColumn(
        "lasting",
        lasting_secrets,
        lasting_secrets.c.purpose,
        lasting_secrets.c.sealed,
        lasting.SEALED_FOR,
    ),
)


async def reseal(database: Database, keyring: Keyring) -> Counter[str]:
    """Seal again what an older secret sealed; return how many texts of each kind.

    Only where the first secret is the one that makes: elsewhere nothing is done.
    """
    done: Counter[str] = Counter()
    if len(keyring.all) == 1:
        return done
    async with database.read() as connection:
        if not await makes(connection, keyring):
            return done
    for place, seal in _places(keyring):
        after: str | None = ""
        while after is not None:
            async with database.write() as connection:
                page = await _page(connection, place, after)
                for owner, sealed in page:
                    if seal.sealed_by(sealed, owner=owner):  # by one that is not the first
                        await _replace(connection, place, owner, sealed, seal)
                        done[place.kind] += 1
            after = page[-1][0] if len(page) == _AT_ONCE else None
    return done


async def sealed_under(
    connection: AsyncConnection, keyring: Keyring, which: int | None
) -> Counter[str]:
    """Return how many texts of each kind one of the secrets sealed, or with None an unknown one."""
    found: Counter[str] = Counter()
    for place, seal in _places(keyring):
        async for owner, sealed in _all(connection, place):
            found[place.kind] += seal.sealed_by(sealed, owner=owner) == which
    return found


def _places(keyring: Keyring) -> Iterator[tuple[SealedColumn, Seal]]:
    for place in SEALED_COLUMNS:
        yield place, Seal(keyring.derive(place.purpose))


async def _all(
    connection: AsyncConnection, place: SealedColumn
) -> AsyncIterator[tuple[str, bytes]]:
    after = ""
    while page := await _page(connection, place, after):
        for row in page:
            yield row
        after = page[-1][0]


async def _page(
    connection: AsyncConnection, place: SealedColumn, after: str
) -> list[tuple[str, bytes]]:
    """Return the next texts by owner; those of removed endpoints are empty."""
    query = (
        select(place.owner, place.column)
        .where(place.column.is_not(None), func.length(place.column) > 0)
        .order_by(place.owner)
        .limit(_AT_ONCE)
    )
    if after:
        query = query.where(place.owner > after)
    return [(row[0], bytes(row[1])) for row in await connection.execute(query)]


async def _replace(
    connection: AsyncConnection, place: SealedColumn, owner: str, sealed: bytes, seal: Seal
) -> None:
    """Replace a text, unless someone did meanwhile."""
    again = seal.close(seal.open(sealed, owner=owner), owner=owner)
    await connection.execute(
        update(place.table)
        .where(place.owner == owner, place.column == sealed)
        .values({place.column: again})
    )
