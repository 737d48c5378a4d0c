"""What is published of receipts: the keys that sign them, and the log of the roots of their trees.

What a receipt and a root are: gateway/data_plane/metering/receipts.py. A root can be read for as
long as the usage that it covers is kept; keys for good, so that a receipt outlives a change of the
deployment's secret.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import receipt_keys, receipt_roots


class PublishedRoot(msgspec.Struct, frozen=True):
    """The signed root of the receipts of one tick."""

    id: str
    size: int
    root: bytes
    previous: bytes
    key_id: str
    signature: bytes


_COLUMNS = tuple(receipt_roots.c[name] for name in PublishedRoot.__struct_fields__)


async def roots(
    connection: AsyncConnection, *, after: str | None = None, limit: int = 100
) -> list[PublishedRoot]:
    """Return roots in the order of their ids, after one of them."""
    query = select(*_COLUMNS).order_by(receipt_roots.c.id).limit(limit)
    if after is not None:
        query = query.where(receipt_roots.c.id > after)
    return [PublishedRoot(*row) for row in (await connection.execute(query)).all()]


async def root(connection: AsyncConnection, root_id: str) -> PublishedRoot | None:
    """Return one root."""
    query = select(*_COLUMNS).where(receipt_roots.c.id == root_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else PublishedRoot(*row)


async def keys(connection: AsyncConnection, current: Sequence[bytes]) -> list[bytes]:
    """Return the public keys: those of this process, then all that ever signed, newest first."""
    query = select(receipt_keys.c.public).order_by(receipt_keys.c.created_at.desc())
    known = list((await connection.scalars(query)).all())
    return list(dict.fromkeys([*current, *known]))
