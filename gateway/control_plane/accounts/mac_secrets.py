"""The secrets that new keys carry a MAC under: a set in the database, apart from GATEWAY_SECRET.

Someone who has one can make up keys that get looked up, and nothing more. A secret signs only once
all processes have read it. Dropping a secret leaves its keys without a MAC that can be checked:
they keep working like keys from version 0.1, looked up within a limit per network.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.auth.keys import MAC_SECRETS_SECONDS
from gateway.errors import NotFound
from gateway.identifiers import is_id, new_id
from gateway.storage.clock import clock
from gateway.storage.tables import api_keys, mac_secrets

_BYTES = 32
_LEARNED = timedelta(seconds=2 * MAC_SECRETS_SECONDS)


class MacSecretNotFound(NotFound):
    """No such secret."""

    code = "mac_secret_not_found"


class MacSecret(NamedTuple):
    """A secret, or none that is stored: its keys are then as those of version 0.1."""

    id: str | None
    secret: bytes


class ListedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as operators see it."""

    id: str
    signs_from: datetime
    keys: int
    """Keys in use that carry a MAC under it."""


async def signing(connection: AsyncConnection) -> MacSecret:
    """Return the newest secret that all processes know; it stays until the transaction ends."""
    known = (
        select(mac_secrets.c.id, mac_secrets.c.secret)
        .where(mac_secrets.c.signs_from <= clock())
        .order_by(mac_secrets.c.signs_from.desc())
        .limit(1)
        .with_for_update(read=True, key_share=True)
    )
    row = (await connection.execute(known)).one_or_none()
    return MacSecret(None, secrets.token_bytes(_BYTES)) if row is None else MacSecret(*row)


async def listed(connection: AsyncConnection) -> list[ListedSecret]:
    """Return all secrets, newest first, without what is secret."""
    query = (
        select(mac_secrets.c.id, mac_secrets.c.signs_from, func.count(api_keys.c.id).label("keys"))
        .join(
            api_keys,
            (api_keys.c.mac_secret_id == mac_secrets.c.id) & api_keys.c.revoked_at.is_(None),
            isouter=True,
        )
        .group_by(mac_secrets.c.id)
        .order_by(mac_secrets.c.signs_from.desc())
    )
    return [ListedSecret(**row) for row in (await connection.execute(query)).mappings()]


async def rotate(connection: AsyncConnection) -> datetime:
    """Add a secret; return from when on keys are made under it. Those there are go on counting."""
    added = await connection.execute(
        insert(mac_secrets)
        .values(id=new_id(), secret=secrets.token_bytes(_BYTES), signs_from=clock(_LEARNED))
        .returning(mac_secrets.c.signs_from)
    )
    signs_from: datetime = added.scalar_one()
    return signs_from


async def drop(connection: AsyncConnection, secret_id: str) -> None:
    """Drop a secret, for instance one that leaked. Raises MacSecretNotFound."""
    gone = 0
    if is_id(secret_id):
        for column in (api_keys.c.mac_secret_id, api_keys.c.previous_mac_secret_id):
            signed = update(api_keys).where(column == secret_id)
            await connection.execute(signed.values({column: None}))
        own = delete(mac_secrets).where(mac_secrets.c.id == secret_id)
        gone = (await connection.execute(own)).rowcount
    if not gone:
        raise MacSecretNotFound(f"There is no secret {secret_id!r}.")
