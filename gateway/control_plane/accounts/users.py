"""Users: people who have proven that a mailbox is theirs."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import memberships, organizations
from gateway.control_plane.accounts.addresses import Address
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import insert_into
from gateway.storage.tables import users


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user and the organization that they act for after sign-in."""

    id: str
    email: str
    organization_id: str
    is_new: bool


async def find_or_create(connection: AsyncConnection, address: Address) -> User:
    """Return the user of an address; a new user gets an organization."""
    created = await connection.scalar(
        insert_into(connection, users)
        .values(
            id=new_id(),
            email=address.email,
            address_key=address.key,
            created_at=wall.now(),
            welcome="",
        )
        # two links to one address may be used at once: the second finds the first's user
        .on_conflict_do_nothing(index_elements=["email"])
        .returning(users.c.id)
    )
    is_new = created is not None
    user_id = created or await connection.scalar(
        select(users.c.id).where(users.c.email == address.email)
    )
    assert user_id is not None
    return User(
        id=user_id,
        email=address.email,
        organization_id=await _home(connection, user_id, address),
        is_new=is_new,
    )


async def find(connection: AsyncConnection, user_id: str) -> User | None:
    """Return a user, or None if they deleted their account."""
    email = await connection.scalar(select(users.c.email).where(users.c.id == user_id))
    if email is None:
        return None
    home = await _home(connection, user_id, Address(email))
    return User(id=user_id, email=email, organization_id=home, is_new=False)


async def id_of(connection: AsyncConnection, address: Address) -> str | None:
    """Return the user of an address, if there is one."""
    return await connection.scalar(select(users.c.id).where(users.c.email == address.email))


async def welcome_of(connection: AsyncConnection, user_id: str) -> str:
    """Return why a user did or did not get free credit; see `billing.welcome`."""
    return str(await connection.scalar(select(users.c.welcome).where(users.c.id == user_id)))


async def _home(connection: AsyncConnection, user_id: str, address: Address) -> str:
    """Return a user's oldest organization; create one if they have left all."""
    found = await connection.scalar(
        select(tables.memberships.c.organization_id)
        .where(tables.memberships.c.user_id == user_id)
        .order_by(tables.memberships.c.created_at)
        .limit(1)
    )
    if found is not None:
        return str(found)
    name = address.email.partition("@")[0]
    created = await organizations.create(connection, name)
    await memberships.add(connection, user_id, created.id, "owner")
    return created.id
