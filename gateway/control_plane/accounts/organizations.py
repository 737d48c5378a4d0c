"""Organizations: who owns keys, credit and usage."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import BadRequest, NotFound
from gateway.identifiers import new_id
from gateway.storage.ledger import grants
from gateway.storage.ledger.balances import leased_unspent
from gateway.storage.tables import accounts, organizations

_NAME_CHARACTERS_MAX = 200


class OrganizationNotFound(NotFound):
    """No such organization, or more than one of that name."""

    code = "organization_not_found"


class Organization(msgspec.Struct, frozen=True):
    """An organization and what it may spend."""

    id: str
    name: str
    created_at: datetime
    available_nanos: int


async def create(connection: AsyncConnection, name: str) -> Organization:
    """Found an organization with an empty account. Raises BadRequest for a name that is no name."""
    name = clean_name(name)
    created = Organization(new_id(), name, datetime.now(UTC), 0)
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
    """Return the organization of an id, or of a name that only one has.

    Raises OrganizationNotFound.
    """
    column = organizations.c.id if _is_id(id_or_name) else organizations.c.name
    query = _selection().where(column == id_or_name).limit(2)
    found = (await connection.execute(query)).mappings().all()
    if not found:
        raise OrganizationNotFound(f"There is no organization {id_or_name!r}.")
    if len(found) > 1:
        raise OrganizationNotFound(f"More than one is called {id_or_name!r}: name it by its id.")
    return Organization(**found[0])


def clean_name(name: str) -> str:
    """Return the name without space around it. Raises BadRequest."""
    name = name.strip()
    if not 1 <= len(name) <= _NAME_CHARACTERS_MAX or not name.isprintable():
        raise BadRequest(
            f"A name has 1 to {_NAME_CHARACTERS_MAX} printable characters.", param="name"
        )
    return name


def _selection() -> Select[tuple[str, str, datetime, int]]:
    return select(
        organizations.c.id,
        organizations.c.name,
        organizations.c.created_at,
        (accounts.c.available_nanos + leased_unspent()).label("available_nanos"),
    ).join(accounts, accounts.c.id == organizations.c.id)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
