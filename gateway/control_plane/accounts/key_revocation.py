"""Ends API keys: revoked one by one or with a person who knows them; and forgets old secrets."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import key_trail
from gateway.control_plane.accounts.key_trail import Doer
from gateway.errors import NotFound
from gateway.identifiers import is_id
from gateway.storage.clock import clock
from gateway.storage.database import alone
from gateway.storage.tables import api_keys

DIGESTS = (api_keys.c.digest, api_keys.c.previous_digest)
"""How a key is identified to those who are notified of its changes."""

_PREVIOUS_KEPT = timedelta(days=7)
"""How long a secret that no longer works is distinguished from one that never existed."""


class KeyNotFound(NotFound):
    """No such key."""

    code = "key_not_found"


class EndedKeys(NamedTuple):
    """What ended: how many keys were revoked, and the digests to `tell` after the commit."""

    keys: int
    digests: list[bytes]


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


async def revoke_known_to(
    connection: AsyncConnection, organization_id: str, user_id: str
) -> EndedKeys:
    """End what a user knows of an organization's keys: those that they made or rotated last.

    A key that someone else has rotated since keeps working: only its previous secret ends, if they
    know it.
    """
    await alone(connection, f"keys of {organization_id}")  # see keys that are being made
    in_use = and_(api_keys.c.organization_id == organization_id, api_keys.c.revoked_at.is_(None))
    revoked = await connection.execute(
        update(api_keys)
        .where(in_use, holder() == user_id)
        .values(revoked_at=clock(), changed_at=clock())
        .returning(*DIGESTS)
    )
    digests = [digests_of(row) for row in revoked]
    cut_short = await connection.scalars(
        update(api_keys)
        .where(in_use, holder_before() == user_id, api_keys.c.previous_until > clock())
        .values(previous_until=clock(), changed_at=clock())
        .returning(api_keys.c.previous_digest)
    )
    return EndedKeys(len(digests), [*chain.from_iterable(digests), *cut_short])


def holder() -> ColumnElement[str | None]:
    """Return the id of the user who saw a key's secret, if that is known."""
    return func.coalesce(api_keys.c.rotated_by, api_keys.c.created_by)


def holder_before() -> ColumnElement[str | None]:
    """Return the id of the user who saw the secret before, if that is known."""
    return func.coalesce(api_keys.c.previous_rotated_by, api_keys.c.created_by)


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
            previous_rotated_by=None,
        )
    )


def own(key_id: str, organization_id: str | None) -> ColumnElement[bool]:
    """Return what picks a key, if it is the organization's. Raises KeyNotFound."""
    if not is_id(key_id):
        raise KeyNotFound(f"There is no key {key_id!r}.")
    if organization_id is None:
        return api_keys.c.id == key_id
    return and_(api_keys.c.id == key_id, api_keys.c.organization_id == organization_id)
