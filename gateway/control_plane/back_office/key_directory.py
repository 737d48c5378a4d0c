"""The keys of all organizations, a page at a time, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import is_id
from gateway.storage.tables import api_keys, organizations

KeyState = Literal["", "in_use", "revoked"]

_SHOWN = 4
"""Of a key, only its last characters are known."""


class ListedKey(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a key, and whose it is."""

    id: str
    name: str
    last_four: str
    organization_id: str
    organization: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


async def listed(
    connection: AsyncConnection,
    *,
    ends: str = "",
    organization_id: str = "",
    state: KeyState = "",
    before: str | None = None,
    limit: int,
) -> list[ListedKey]:
    """Return a page of keys. `ends` is how the key ends, as people or a checksum tell it."""
    columns = [api_keys.c[name] for name in ListedKey.__struct_fields__ if name != "organization"]
    query = select(*columns, organizations.c.name.label("organization")).join(
        organizations, organizations.c.id == api_keys.c.organization_id
    )
    if ends:
        query = query.where(api_keys.c.last_four == ends[-_SHOWN:])
    if is_id(organization_id):
        query = query.where(api_keys.c.organization_id == organization_id)
    if state:
        ended = api_keys.c.revoked_at.is_not(None)
        query = query.where(ended if state == "revoked" else ~ended)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    found = await connection.execute(query.order_by(api_keys.c.id.desc()).limit(limit))
    return [ListedKey(**row) for row in found.mappings()]
