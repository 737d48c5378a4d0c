"""Accounts at other services (GitHub) that sign a user in here.

An identity is a digest of the account's name at the other service. Its row outlives the user,
without pointing to them, so that someone who deletes their account and returns with another address
does not get free credit again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.users import User
from gateway.control_plane.secrets import lasting
from gateway.keyring import Keyring
from gateway.storage.database import insert_into
from gateway.storage.tables import identities

Provider = Literal["github"]


class Identity(msgspec.Struct, frozen=True):
    """An account at a provider, as a digest of its name there."""

    provider: Provider
    digest: bytes


class Connected(msgspec.Struct, frozen=True):
    """A user's identity, as the user sees it."""

    provider: Provider
    connected_at: datetime


async def of(
    connection: AsyncConnection, secret: Keyring, provider: Provider, subject: str
) -> Identity:
    """Return an account's identity. Unlike a login name, `subject` never changes."""
    kept = Keyring(await lasting.read(connection, secret, "identities"))
    return Identity(provider, kept.digest(f"{provider}|{subject}"))


async def find(connection: AsyncConnection, who: Identity) -> User | None:
    """Return the user that an identity signs in, if any."""
    found = await connection.scalar(select(identities.c.user_id).where(_is(who)))
    return await users.find(connection, found) if found else None


async def connect(connection: AsyncConnection, who: Identity, user_id: str) -> bool:
    """Connect an identity to a user; return False if it was known before."""
    values = {"user_id": user_id, "connected_at": wall.now()}
    added = await connection.scalar(
        insert_into(connection, identities)
        .values(provider=who.provider, digest=who.digest, **values)
        .on_conflict_do_nothing()
        .returning(identities.c.provider)
    )
    if added is None:
        await connection.execute(update(identities).where(_is(who)).values(**values))
    return added is not None


async def disconnect(
    connection: AsyncConnection, user_id: str, provider: Provider | None = None
) -> bool:
    """Disconnect a user's identities, or only those of one provider; return if there was one."""
    mine = identities.c.user_id == user_id
    if provider is not None:
        mine &= identities.c.provider == provider
    ended = await connection.execute(update(identities).where(mine).values(user_id=None))
    return bool(ended.rowcount)


async def of_user(connection: AsyncConnection, user_id: str) -> list[Connected]:
    """Return the identities of a user, oldest first."""
    found = await connection.execute(
        select(identities.c.provider, identities.c.connected_at)
        .where(identities.c.user_id == user_id)
        .order_by(identities.c.connected_at)
    )
    return [Connected(*row) for row in found]


def _is(who: Identity) -> ColumnElement[bool]:
    return (identities.c.provider == who.provider) & (identities.c.digest == who.digest)
