"""The members of organizations and their roles.

An owner invites and removes people and gives roles; what each role may do is in `rights`.
An organization always keeps an owner. Invitations end with their creator's right to invite. To
outsiders, an organization does not exist.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import links
from gateway.control_plane.accounts.rights import Role
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id
from gateway.storage.database import alone, count, insert_into
from gateway.storage.tables import memberships, organizations, sessions, users


class MemberNotFound(NotFound):
    """No member with this id in this organization."""

    code = "member_not_found"


class LastOwner(BadRequest):
    """The change would leave an organization without an owner."""

    code = "last_owner"


class OrganizationFull(BadRequest):
    """The organization has as many members as it may."""

    code = "organization_full"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an organization."""

    user_id: str
    email: str
    role: Role
    created_at: datetime


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """An organization that a user belongs to."""

    organization_id: str
    name: str
    role: Role


async def lock(connection: AsyncConnection, organization_id: str) -> None:
    """Keep an organization's members unchanged until the transaction ends."""
    await alone(connection, f"members of {organization_id}")


async def add(
    connection: AsyncConnection,
    user_id: str,
    organization_id: str,
    role: Role,
    *,
    members_max: int | None = None,
) -> bool:
    """Add a member and return True; an existing one keeps their role. Raises OrganizationFull."""
    if members_max is not None:
        await lock(connection, organization_id)
        members = memberships.c.organization_id == organization_id
        if await count(connection, memberships, members) >= members_max:
            raise OrganizationFull(f"An organization can have at most {members_max} members.")
    added = await connection.execute(
        insert_into(connection, memberships)
        .values(
            user_id=user_id,
            organization_id=organization_id,
            role=role,
            created_at=wall.now(),
        )
        .on_conflict_do_nothing()
    )
    return bool(added.rowcount)


async def must_belong(connection: AsyncConnection, organization_id: str, user_id: str) -> None:
    """Raise MemberNotFound unless the user is a member."""
    own = (memberships.c.organization_id == organization_id) & (memberships.c.user_id == user_id)
    if await connection.scalar(select(memberships.c.user_id).where(own)) is None:
        raise MemberNotFound("You no longer belong to this organization.")


async def listed(connection: AsyncConnection, organization_id: str) -> list[Member]:
    """Return the members, oldest first."""
    query = (
        select(memberships.c.user_id, users.c.email, memberships.c.role, memberships.c.created_at)
        .join(users, users.c.id == memberships.c.user_id)
        .where(memberships.c.organization_id == organization_id)
        .order_by(memberships.c.created_at)
    )
    return [Member(**row) for row in (await connection.execute(query)).mappings()]


async def of_user(connection: AsyncConnection, user_id: str) -> list[Membership]:
    """Return a user's organizations, oldest membership first."""
    query = (
        select(memberships.c.organization_id, organizations.c.name, memberships.c.role)
        .join(organizations, organizations.c.id == memberships.c.organization_id)
        .where(memberships.c.user_id == user_id)
        .order_by(memberships.c.created_at)
    )
    return [Membership(**row) for row in (await connection.execute(query)).mappings()]


async def change_role(
    connection: AsyncConnection, organization_id: str, user_id: str, role: Role
) -> Role:
    """Change a member's role; return the one before. Raises MemberNotFound or LastOwner."""
    if role != "owner":
        await _check_another_owner(connection, organization_id, user_id)
    before = await _role_of(connection, organization_id, user_id)
    await connection.execute(
        update(memberships).where(_member(organization_id, user_id)).values(role=role)
    )
    if role != "owner":
        await links.take_back_of(connection, organization_id, user_id)
    return before


async def remove(connection: AsyncConnection, organization_id: str, user_id: str) -> Role:
    """Remove a member; return the role that they had. Raises MemberNotFound or LastOwner.

    Their sessions continue in their oldest remaining organization; without one they end.
    """
    await _check_another_owner(connection, organization_id, user_id)
    role = await _role_of(connection, organization_id, user_id)
    await connection.execute(delete(memberships).where(_member(organization_id, user_id)))
    await links.take_back_of(connection, organization_id, user_id)
    left = await of_user(connection, user_id)
    goes_on = (
        {"organization_id": left[0].organization_id, "removed_from": organization_id}
        if left
        else {"revoked_at": wall.now()}
    )
    await connection.execute(
        update(sessions)
        .where(sessions.c.user_id == user_id, sessions.c.organization_id == organization_id)
        .values(goes_on)
    )
    return role


async def _check_another_owner(
    connection: AsyncConnection, organization_id: str, user_id: str
) -> None:
    # lock the rows, so that two owners can't both leave at once
    owners = await connection.scalars(
        select(memberships.c.user_id)
        .where(memberships.c.organization_id == organization_id, memberships.c.role == "owner")
        .with_for_update()
    )
    if list(owners) == [user_id]:
        raise LastOwner("An organization needs an owner: make someone else an owner first.")


async def _role_of(connection: AsyncConnection, organization_id: str, user_id: str) -> Role:
    query = select(memberships.c.role).where(_member(organization_id, user_id)).with_for_update()
    role: Role | None = await connection.scalar(query)
    if role is None:
        raise _unknown()
    return role


def _member(organization_id: str, user_id: str) -> ColumnElement[bool]:
    if not is_id(user_id):
        raise _unknown()
    return and_(memberships.c.organization_id == organization_id, memberships.c.user_id == user_id)


def _unknown() -> MemberNotFound:
    return MemberNotFound("This organization has no such member.")
