"""The end of API keys: revoked one by one or with their maker, and old secrets forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import key_trail
from gateway.control_plane.accounts.key_trail import Doer
from gateway.errors import NotFound
from gateway.identifiers import is_id
from gateway.storage.clock import clock
from gateway.storage.database import alone
from gateway.storage.tables import api_keys

DIGESTS = (api_keys.c.digest, api_keys.c.previous_digest)
"""What a key is known by to those who are told of its changes."""

_PREVIOUS_KEPT = timedelta(days=7)
"""How long a secret that works no more is told from one that never was."""


class KeyNotFound(NotFound):
    """No such key."""

    code = "key_not_found"


def digests_of(row: Any) -> list[bytes]:
    """Return the digests of a row that has `DIGESTS`."""
    return [digest for digest in (row.digest, row.previous_digest) if digest is not None]


async def revoke(
    connection: AsyncConnection,
    key_id: str,
    organization_id: str | None = None,
    *,
    doer: Doer | None = None,
) -> list[bytes]:
    """Revoke a key in the caller's transaction, as `ApiKeys.revoke`.

    Returns its digests, for `tell` after the commit; none if it was revoked before.
    """
    key = own(key_id, organization_id)
    row = (
        await connection.execute(
            update(api_keys)
            .where(key, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=clock(), changed_at=clock())
            .returning(*DIGESTS, api_keys.c.organization_id)
        )
    ).one_or_none()
    if row is None:
        if await connection.scalar(select(api_keys.c.id).where(key)) is None:
            raise KeyNotFound(f"There is no key {key_id!r}.")
        return []
    await key_trail.revoked(connection, doer, row.organization_id, key_id)
    return digests_of(row)


async def revoke_made_by(
    connection: AsyncConnection, organization_id: str, user_id: str
) -> list[bytes]:
    """Revoke the keys that a user made for an organization; return digests for `tell`."""
    await alone(connection, f"keys of {organization_id}")  # see keys that are being made
    ended = await connection.execute(
        update(api_keys)
        .where(
            api_keys.c.organization_id == organization_id,
            api_keys.c.created_by == user_id,
            api_keys.c.revoked_at.is_(None),
        )
        .values(revoked_at=clock(), changed_at=clock())
        .returning(*DIGESTS)
    )
    return [digest for row in ended for digest in digests_of(row)]


async def forget_old(connection: AsyncConnection) -> None:
    """Forget the secrets from before rotations that ended some time ago."""
    await connection.execute(
        update(api_keys)
        .where(
            api_keys.c.previous_digest.is_not(None),
            api_keys.c.previous_until < clock(-_PREVIOUS_KEPT),
        )
        .values(
            previous_digest=None,
            previous_digest_secret=None,
            previous_until=None,
            previous_mac_secret_id=None,
        )
    )


def own(key_id: str, organization_id: str | None) -> ColumnElement[bool]:
    """Return what picks a key, if it is the organization's. Raises KeyNotFound."""
    if not is_id(key_id):
        raise KeyNotFound(f"There is no key {key_id!r}.")
    if organization_id is None:
        return api_keys.c.id == key_id
    return and_(api_keys.c.id == key_id, api_keys.c.organization_id == organization_id)
