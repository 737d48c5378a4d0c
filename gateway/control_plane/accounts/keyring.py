"""The keys of an organization, as its pages show them: who made each, and which are in use."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.keys import ApiKey, KeyNotFound
from gateway.identifiers import is_id
from gateway.storage.tables import api_keys, memberships, users

REVOKED_SHOWN_MAX = 20


class HeldKey(ApiKey, frozen=True, kw_only=True):
    """A key, when it was last changed, and who made it."""

    changed_at: datetime
    maker: str | None
    """Their address; None for an operator, for who is forgotten, and where it was not kept."""
    maker_left: bool
    """Whether they are no longer of the organization."""


class Keyring(msgspec.Struct, frozen=True, kw_only=True):
    """The keys in use, the newest first, and the newest of those that are not."""

    active: list[HeldKey]
    revoked: list[HeldKey]
    revoked_more: int
    """How many more were revoked than are shown."""


async def of_organization(connection: AsyncConnection, organization_id: str) -> Keyring:
    """Return an organization's keys: what is in use is bounded, what was revoked is not."""
    ours = api_keys.c.organization_id == organization_id
    active = await _read(connection, _selection(ours, api_keys.c.revoked_at.is_(None)))
    ended = _selection(ours, api_keys.c.revoked_at.is_not(None)).add_columns(
        func.count().over().label("all_revoked")
    )
    rows = (await connection.execute(ended.limit(REVOKED_SHOWN_MAX))).mappings().all()
    revoked = [_held({**row}) for row in rows]
    return Keyring(
        active=active,
        revoked=revoked,
        revoked_more=rows[0]["all_revoked"] - len(rows) if rows else 0,
    )


async def find(connection: AsyncConnection, organization_id: str, key_id: str) -> HeldKey:
    """Return a key in use. Raises KeyNotFound."""
    if is_id(key_id):
        query = _selection(
            api_keys.c.organization_id == organization_id,
            api_keys.c.id == key_id,
            api_keys.c.revoked_at.is_(None),
        )
        for key in await _read(connection, query):
            return key
    raise KeyNotFound("There is no such key.")


async def active_by_maker(
    connection: AsyncConnection, organization_id: str
) -> dict[str, list[HeldKey]]:
    """Return the keys in use of whom we know, by who made them."""
    found: dict[str, list[HeldKey]] = defaultdict(list)
    query = _selection(
        api_keys.c.organization_id == organization_id,
        api_keys.c.revoked_at.is_(None),
        api_keys.c.created_by.is_not(None),
    )
    for key in await _read(connection, query):
        assert key.created_by is not None
        found[key.created_by].append(key)
    return found


_COLUMNS = tuple(name for name in ApiKey.__struct_fields__ if name != "prefix")


def _selection(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            *(api_keys.c[name] for name in _COLUMNS),
            api_keys.c.changed_at,
            users.c.email.label("maker"),
            memberships.c.user_id.is_(None).label("maker_left"),
        )
        .join(users, users.c.id == api_keys.c.created_by, isouter=True)
        .join(
            memberships,
            and_(
                memberships.c.user_id == api_keys.c.created_by,
                memberships.c.organization_id == api_keys.c.organization_id,
            ),
            isouter=True,
        )
        .where(*conditions)
        .order_by(api_keys.c.id.desc())
    )


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[HeldKey]:
    return [_held({**row}) for row in (await connection.execute(query)).mappings()]


def _held(row: dict[str, Any]) -> HeldKey:
    row.pop("all_revoked", None)
    return HeldKey(**row | {"maker_left": bool(row["maker_left"])})
