"""What still depends on a secret of GATEWAY_SECRET: whether it can be dropped."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.secrets.resealing import sealed_under
from gateway.keyring import Keyring
from gateway.storage.clock import clock
from gateway.storage.database import count
from gateway.storage.tables import api_keys, known_secrets, mail_links, sessions


class Dependents(msgspec.Struct, frozen=True, kw_only=True):
    """How much depends on one secret."""

    api_keys: int
    """Keys in use whose digest is under it, one before a rotation included: they move at their
    next use."""
    webhooks: int
    """Signing secrets that it sealed."""
    authenticators: int
    """Secrets of authenticator apps that it sealed."""
    lasting: int
    """Secrets of digests that it sealed."""
    sessions: int
    """Sessions whose cookie it may have signed: their people sign in again."""
    mail_links: int
    """Unused links in mails that it may have signed."""

    @property
    def must_stay(self) -> int:
        """How much of it would break, and not only end early."""
        return self.api_keys + self.webhooks + self.authenticators + self.lasting


async def dependents(connection: AsyncConnection, keyring: Keyring, fingerprint: str) -> Dependents:
    """Count what depends on a secret, which may be one that this process does not have."""
    ours = keyring.fingerprints
    which = ours.index(fingerprint) if fingerprint in ours else None
    sealed = await sealed_under(connection, keyring, which)
    until = await _made_until(connection, fingerprint)
    now = clock()
    return Dependents(
        api_keys=await count(connection, api_keys, await _keys_under(connection, fingerprint)),
        webhooks=sealed["webhooks"],
        authenticators=sealed["authenticators"],
        lasting=sealed["lasting"],
        sessions=await _count_before(
            connection,
            sessions.c.rotated_at,
            until,
            and_(sessions.c.revoked_at.is_(None), sessions.c.expires_at > now),
        ),
        mail_links=await _count_before(
            connection,
            mail_links.c.created_at,
            until,
            and_(mail_links.c.used_at.is_(None), mail_links.c.expires_at > now),
        ),
    )


async def keys_under(connection: AsyncConnection, fingerprint: str, *, most: int) -> list[str]:
    """Return the ids of API keys in use that depend on a secret, the oldest first."""
    query = select(api_keys.c.id).where(await _keys_under(connection, fingerprint))
    return list(await connection.scalars(query.order_by(api_keys.c.id).limit(most)))


async def _keys_under(connection: AsyncConnection, fingerprint: str) -> ColumnElement[bool]:
    """Return what is true of a key in use one of whose digests is under a secret."""
    oldest = select(known_secrets.c.fingerprint).order_by(known_secrets.c.seen_at).limit(1)
    is_oldest = await connection.scalar(oldest) == fingerprint

    def under(column: ColumnElement[Any]) -> ColumnElement[bool]:
        # version 0.1 did not say which secret it had; there was one
        return or_(column == fingerprint, column.is_(None)) if is_oldest else column == fingerprint

    before = and_(
        api_keys.c.previous_digest.is_not(None),
        api_keys.c.previous_until > clock(),
        under(api_keys.c.previous_digest_secret),
    )
    is_in_use = and_(
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > clock()),
    )
    return and_(is_in_use, or_(under(api_keys.c.digest_secret), before))


async def _made_until(connection: AsyncConnection, fingerprint: str) -> datetime | None:
    """Return when another secret became the first after this one; None if this one makes."""
    secret = known_secrets.c
    own = select(secret.first_at).where(secret.fingerprint == fingerprint).scalar_subquery()
    query = select(func.min(secret.first_at)).where(secret.first_at > own)
    until: datetime | None = await connection.scalar(query)
    return until


async def _count_before(
    connection: AsyncConnection,
    made_at: ColumnElement[Any],
    until: datetime | None,
    still: ColumnElement[bool],
) -> int:
    if until is None:
        return 0
    query = select(func.count()).where(still, made_at < until)
    return await connection.scalar(query) or 0
