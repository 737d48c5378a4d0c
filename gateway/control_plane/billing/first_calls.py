"""The first call of a key that was charged, for the page that waits for it."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.api_key import ApiKey
from gateway.identifiers import first_id
from gateway.storage.tables import usage_events

_LOOKED_AT_MAX = 1_000
"""Of an organization's calls since a key was made, the first so many are searched for the key's."""


class FirstCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was answered with vectors, and charged."""

    model_id: str
    inputs: int
    tokens: int
    charged_nanos: int


async def of_key(connection: AsyncConnection, key: ApiKey) -> FirstCall | None:
    """Return a key's first call, or None; a busy organization's may be past those looked at."""
    events = usage_events.c
    early = (
        select(usage_events)
        .where(
            events.organization_id == key.organization_id,
            events.request_id >= first_id(key.created_at),
        )
        .order_by(events.request_id)
        .limit(_LOOKED_AT_MAX)
        .subquery()
    )
    found = await connection.execute(
        select(*(early.c[name] for name in FirstCall.__struct_fields__))
        .where(early.c.key_id == key.id)
        .order_by(early.c.request_id)
        .limit(1)
    )
    row = found.mappings().first()
    return FirstCall(**row) if row else None
