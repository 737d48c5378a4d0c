"""Which secret makes: while a rotation rolls out, processes have different first ones."""

from __future__ import annotations

from sqlalchemy import ScalarSelect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.keyring import Keyring
from gateway.storage.tables import known_secrets


def making() -> ScalarSelect[str]:
    """Return the fingerprint of the secret that became the first one last."""
    secret = known_secrets.c
    newest = select(secret.fingerprint).where(secret.first_at.is_not(None))
    return newest.order_by(secret.first_at.desc()).limit(1).scalar_subquery()


async def makes(connection: AsyncConnection, keyring: Keyring) -> bool:
    """Whether the first secret of a process is that one: else it would undo what others moved."""
    newest: str | None = await connection.scalar(select(making()))
    return newest == keyring.fingerprints[0]
