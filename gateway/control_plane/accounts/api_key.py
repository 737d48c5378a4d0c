"""An API key as people see it: everything but its secret."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.data_plane.auth import keys
from gateway.snapshots import TokenIdsFrom, Truncate


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: str
    organization_id: str
    name: str
    prefix: str = keys.PREFIX
    last_four: str
    scopes: str
    """Names, separated by spaces."""
    previous_until: datetime | None
    """Until when its previous secret works."""
    token_ids_from: TokenIdsFrom | None
    truncate: Truncate | None
    created_at: datetime
    created_by: str | None
    """The user who made it, if known."""
    expires_at: datetime | None
    revoked_at: datetime | None


COLUMNS = tuple(name for name in ApiKey.__struct_fields__ if name != "prefix")
"""The fields of a key that the table holds."""


class NewApiKey(msgspec.Struct, frozen=True):
    """A new key, with the only copy of its secret."""

    key: ApiKey
    secret: str
