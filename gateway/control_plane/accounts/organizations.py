"""Organizations, which own keys, credit and usage."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

import msgspec
from sqlalchemy import Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id, new_id
from gateway.snapshots import TokenIdsFrom, Truncate
from gateway.storage.ledger import grants
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import accounts, organizations

NAME_CHARACTERS_MAX = 200
_JOINERS = re.compile("(?<=.)[\u200c\u200d](?=.)")
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that are invisible."""


class OrganizationNotFound(NotFound):
    """No such organization, or several with this name."""

    code = "organization_not_found"


class Organization(msgspec.Struct, frozen=True):
    """An organization and what it may spend."""

    id: str
    name: str
    created_at: datetime
    available_nanos: int


class KeyDefaults(msgspec.Struct, frozen=True):
    """How new keys treat texts that are too long and arrays of integers; None refuses them."""

    truncate: Truncate | None = None
    token_ids_from: TokenIdsFrom | None = None


async def create(connection: AsyncConnection, name: str) -> Organization:
    """Create an organization without credit. Raises BadRequest for an invalid name."""
    name = clean_name(name)
    created = Organization(new_id(), name, wall.now(), 0)
    await connection.execute(
        insert(organizations).values(id=created.id, name=name, created_at=created.created_at)
    )
    await grants.open_account(connection, created.id)
    return created


async def listed(connection: AsyncConnection) -> list[Organization]:
    """Return all organizations, oldest first."""
    found = await connection.execute(_selection().order_by(organizations.c.id))
    return [Organization(**row) for row in found.mappings()]


async def find(connection: AsyncConnection, id_or_name: str) -> Organization:
    """Find an organization by id or by a unique name. Raises OrganizationNotFound."""
    column = organizations.c.id if is_id(id_or_name) else organizations.c.name
    query = _selection().where(column == id_or_name).limit(2)
    found = (await connection.execute(query)).mappings().all()
    if not found:
        raise OrganizationNotFound(f"There is no organization {id_or_name!r}.")
    if len(found) > 1:
        raise OrganizationNotFound(f"More than one is named {id_or_name!r}; use the id.")
    return Organization(**found[0])


async def name_of(connection: AsyncConnection, organization_id: str) -> str:
    """Return an organization's name, or an empty string if there is none."""
    name = await connection.scalar(
        select(organizations.c.name).where(organizations.c.id == organization_id)
    )
    return name or ""


async def defaults(connection: AsyncConnection, organization_id: str) -> KeyDefaults:
    """Return an organization's defaults for new keys."""
    query = select(organizations.c.truncate, organizations.c.token_ids_from)
    found = await connection.execute(query.where(organizations.c.id == organization_id))
    return KeyDefaults(*found.one())


async def set_defaults(
    connection: AsyncConnection, organization_id: str, wanted: KeyDefaults
) -> None:
    """Set the defaults for new keys; existing keys keep their settings."""
    await connection.execute(
        update(organizations)
        .where(organizations.c.id == organization_id)
        .values(**msgspec.structs.asdict(wanted))
    )


async def rename(connection: AsyncConnection, organization_id: str, name: str) -> None:
    """Rename an organization. Raises BadRequest for an invalid name."""
    await connection.execute(
        update(organizations)
        .where(organizations.c.id == organization_id)
        .values(name=clean_name(name))
    )


def clean_name(name: str) -> str:
    """Return a name without surrounding space. Raises BadRequest for an invalid one.

    Persian and emoji families are written with joiners, so these are allowed inside a name. No
    other invisible characters are, and a name needs a visible one.
    """
    name = name.strip()
    seen = _JOINERS.sub("", name)
    visible = any(unicodedata.category(one)[0] in "LNPS" and one not in _BLANK for one in seen)
    if len(name) > NAME_CHARACTERS_MAX or not seen.isprintable() or not visible:
        raise BadRequest(
            f"A name must have 1 to {NAME_CHARACTERS_MAX} visible characters.", param="name"
        )
    return name


def _selection() -> Select[tuple[str, str, datetime, int]]:
    return select(
        organizations.c.id,
        organizations.c.name,
        organizations.c.created_at,
        (accounts.c.available_nanos + leased_unspent()).label("available_nanos"),
    ).join(accounts, accounts.c.id == organizations.c.id)
