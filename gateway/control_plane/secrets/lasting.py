"""Secrets of digests that are kept for good: who had free credit, which account at GitHub is whose.

Nobody can make such a digest again, so what it is under must outlive GATEWAY_SECRET. It is stored
sealed, and a rotation seals it again. Its value is what version 0.1 derived for the purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.keyring import Keyring
from gateway.storage.database import insert_into
from gateway.storage.tables import lasting_secrets

if TYPE_CHECKING:
    from gateway.sealing import Seal

SEALED_FOR = "lasting"
"""The purpose of what seals them."""
PURPOSES = ("welcome", "identities")


async def keep(connection: AsyncConnection, keyring: Keyring) -> None:
    """Store the secrets, as the oldest one gives them, unless they are stored."""
    kept = set(await connection.scalars(select(lasting_secrets.c.purpose)))
    for purpose in PURPOSES:
        if purpose not in kept:
            await _keep(connection, keyring, purpose)


async def read(connection: AsyncConnection, keyring: Keyring, purpose: str) -> str:
    """Return the secret of a purpose, in hex. Raises Unsealable."""
    query = select(lasting_secrets.c.sealed).where(lasting_secrets.c.purpose == purpose)
    sealed: bytes | None = await connection.scalar(query)
    if sealed is None:
        await _keep(connection, keyring, purpose)
        sealed = (await connection.execute(query)).scalar_one()
    return _seal(keyring).open(sealed, owner=purpose)


async def _keep(connection: AsyncConnection, keyring: Keyring, purpose: str) -> None:
    oldest = keyring.derive(purpose).all[-1]
    sealed = _seal(keyring).close(oldest, owner=purpose)
    await connection.execute(
        insert_into(connection, lasting_secrets)
        .values(purpose=purpose, sealed=sealed)
        .on_conflict_do_nothing()
    )


def _seal(keyring: Keyring) -> Seal:
    from gateway.sealing import Seal  # noqa: PLC0415 - not for commands that only import this

    return Seal(keyring.derive(SEALED_FOR))
