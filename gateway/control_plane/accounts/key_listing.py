"""The keys of an organization as its pages show them, with their makers and last use."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.api_key import COLUMNS, ApiKey
from gateway.control_plane.accounts.key_revocation import KeyNotFound, holder, holder_before
from gateway.identifiers import is_id
from gateway.storage.clock import clock
from gateway.storage.database import count
from gateway.storage.tables import api_keys, memberships, usage_days, users

REVOKED_SHOWN_MAX = 20
Knowledge = Literal["created", "rotated", "before"]
"""How a user knows a key's secret; or that they only know the one before a rotation."""


class KeyListing(msgspec.Struct, frozen=True, kw_only=True):
    """The keys in use and the latest revoked ones, newest first."""

    active: list[HeldKey]
    revoked: list[HeldKey]
    revoked_more: int
    """How many revoked keys are not in `revoked`."""


class HeldKey(ApiKey, frozen=True, kw_only=True):
    """A key with its maker and its last change."""

    changed_at: datetime
    maker: str | None
    """The maker's address; None if it is unknown or their account is deleted."""
    maker_left: bool
    """Whether the maker has left the organization."""


class KnownKey(msgspec.Struct, frozen=True):
    """A key of which a user knows a secret."""

    name: str
    last_four: str
    how: Knowledge


class NamedKey(msgspec.Struct, frozen=True):
    """A key as usage names it."""

    id: str
    name: str
    last_four: str


async def of_organization(connection: AsyncConnection, organization_id: str) -> KeyListing:
    """Return an organization's keys in use and the latest revoked ones."""
    ours = api_keys.c.organization_id == organization_id
    ended = (ours, api_keys.c.revoked_at.is_not(None))
    newest = _selection(*ended).order_by(None).order_by(api_keys.c.revoked_at.desc())
    revoked, more = await _read(connection, newest.limit(REVOKED_SHOWN_MAX)), 0
    if len(revoked) == REVOKED_SHOWN_MAX:
        more = await count(connection, api_keys, *ended) - REVOKED_SHOWN_MAX
    return KeyListing(
        active=await _read(connection, _selection(ours, api_keys.c.revoked_at.is_(None))),
        revoked=revoked,
        revoked_more=more,
    )


async def count_active(connection: AsyncConnection, organization_id: str) -> int:
    """Return the number of an organization's keys in use."""
    ours = api_keys.c.organization_id == organization_id
    return await count(connection, api_keys, ours, api_keys.c.revoked_at.is_(None))


async def named(connection: AsyncConnection, organization_id: str, since: date) -> list[NamedKey]:
    """Return keys that are in use or were used since a day, oldest first."""
    used = select(usage_days.c.key_id).where(
        usage_days.c.organization_id == organization_id, usage_days.c.day >= since
    )
    found = await connection.execute(
        select(api_keys.c.id, api_keys.c.name, api_keys.c.last_four)
        .where(
            api_keys.c.organization_id == organization_id,
            or_(api_keys.c.revoked_at.is_(None), api_keys.c.id.in_(used)),
        )
        .order_by(api_keys.c.id)
    )
    return [NamedKey(**row) for row in found.mappings()]


async def newest(connection: AsyncConnection, organization_id: str) -> NamedKey | None:
    """Return the newest key in use, if there is one."""
    found = await connection.execute(
        select(api_keys.c.id, api_keys.c.name, api_keys.c.last_four)
        .where(api_keys.c.organization_id == organization_id, api_keys.c.revoked_at.is_(None))
        .order_by(api_keys.c.id.desc())
        .limit(1)
    )
    return next((NamedKey(**row) for row in found.mappings()), None)


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


async def last_used(
    connection: AsyncConnection, organization_id: str, since: date
) -> dict[str, date]:
    """Return the last day (UTC) on which each key was used, since a given day."""
    last = func.max(usage_days.c.day, type_=usage_days.c.day.type)
    found = await connection.execute(
        select(usage_days.c.key_id, last.label("last"))
        .where(usage_days.c.organization_id == organization_id, usage_days.c.day >= since)
        .group_by(usage_days.c.key_id)
    )
    return {row.key_id: row.last for row in found}


async def known_by_user(
    connection: AsyncConnection, organization_id: str
) -> dict[str, list[KnownKey]]:
    """Return the keys in use by the ids of the users who know a secret of theirs that works."""
    query = (
        select(
            *(api_keys.c[name] for name in ("name", "last_four", "created_by")),
            holder().label("holder"),
            case((api_keys.c.previous_until > clock(), holder_before())).label("holder_before"),
        )
        .where(api_keys.c.organization_id == organization_id, api_keys.c.revoked_at.is_(None))
        .order_by(api_keys.c.id.desc())
    )
    found: dict[str, list[KnownKey]] = defaultdict(list)
    for key in await connection.execute(query):
        if key.holder is not None:
            how: Knowledge = "created" if key.holder == key.created_by else "rotated"
            found[key.holder].append(KnownKey(key.name, key.last_four, how))
        if key.holder_before not in (None, key.holder):
            found[key.holder_before].append(KnownKey(key.name, key.last_four, "before"))
    return found


def _selection(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            *(api_keys.c[name] for name in COLUMNS),
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
    found = (await connection.execute(query)).mappings()
    return [HeldKey(**{**row, "maker_left": bool(row["maker_left"])}) for row in found]
