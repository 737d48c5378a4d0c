"""A user's passkeys, as they are listed, named and removed; `passkeys` has their ceremonies."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.organizations import clean_name
from gateway.errors import NotFound
from gateway.identifiers import is_id
from gateway.storage.clock import clock
from gateway.storage.tables import passkey_challenges, passkeys


class PasskeyNotFound(NotFound):
    """The user has no such passkey."""

    code = "passkey_not_found"


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey, as its owner sees it."""

    id: str
    name: str
    created_at: datetime
    used_at: datetime | None


async def listed(connection: AsyncConnection, user_id: str) -> list[Passkey]:
    """Return a user's passkeys, the oldest first."""
    columns = [passkeys.c[name] for name in Passkey.__struct_fields__]
    query = select(*columns).where(passkeys.c.user_id == user_id).order_by(passkeys.c.id)
    return [Passkey(**row) for row in (await connection.execute(query)).mappings()]


async def rename(connection: AsyncConnection, user_id: str, passkey_id: str, name: str) -> None:
    """Give a passkey another name. Raises PasskeyNotFound or BadRequest."""
    named = await connection.execute(
        update(passkeys)
        .where(passkeys.c.user_id == user_id, passkeys.c.id == _known(passkey_id))
        .values(name=clean_name(name))
    )
    if not named.rowcount:
        raise _unknown()


async def remove(connection: AsyncConnection, user_id: str, passkey_id: str) -> None:
    """Remove a passkey. Raises PasskeyNotFound."""
    gone = await connection.execute(
        delete(passkeys).where(passkeys.c.user_id == user_id, passkeys.c.id == _known(passkey_id))
    )
    if not gone.rowcount:
        raise _unknown()


async def remove_all(connection: AsyncConnection, user_id: str) -> int:
    """Remove all passkeys of a user, and what waits for one; return how many there were."""
    await connection.execute(
        delete(passkey_challenges).where(passkey_challenges.c.user_id == user_id)
    )
    gone = await connection.execute(delete(passkeys).where(passkeys.c.user_id == user_id))
    return gone.rowcount


async def forget_old(connection: AsyncConnection) -> None:
    """Delete expired challenges."""
    await connection.execute(
        delete(passkey_challenges).where(passkey_challenges.c.expires_at < clock())
    )


def _known(passkey_id: str) -> str:
    if not is_id(passkey_id):
        raise _unknown()
    return passkey_id


def _unknown() -> PasskeyNotFound:
    return PasskeyNotFound("You have no such passkey.")
