"""Operators: users with a role in running the service."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.operators.permissions import PERMISSIONS, Permission
from gateway.control_plane.trail.entries import Actor, ActorKind
from gateway.errors import BadRequest, GatewayError, NotFound
from gateway.storage.database import alone, insert_into
from gateway.storage.tables import operators, users


class NotPermitted(GatewayError):
    """The operator's role does not allow this."""

    status = 403
    type = "permission_error"
    code = "operator_not_permitted"


class OperatorNotFound(NotFound):
    """Nobody with this address is an operator."""

    code = "operator_not_found"


class LastOperatingOwner(BadRequest):
    """The change would leave the service without an operator who is an owner."""

    code = "last_operating_owner"


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts on the service, in the back office or by a command; `origin` is their network.

    While there are no operators, commands act as an owner who is nobody: `user_id` is None.
    """

    user_id: str | None
    email: str
    role: OperatorRole
    origin: str = ""

    def may(self, permission: Permission) -> bool:
        """Tell whether the role allows something."""
        return permission in PERMISSIONS[self.role]

    def must(self, permission: Permission) -> None:
        """Raise NotPermitted unless the role allows something."""
        if not self.may(permission):
            raise NotPermitted(f"Your role, {self.role}, does not allow this.")

    @property
    def actor(self) -> Actor:
        """Who this is in the audit trail."""
        kind: ActorKind = "operator" if self.user_id else "command"
        return Actor(kind=kind, user_id=self.user_id, origin=self.origin)


COMMAND_LINE = Operator(user_id=None, email="", role="owner")
"""Who acts by a command while there are no operators."""


async def add(connection: AsyncConnection, user_id: str, role: OperatorRole) -> None:
    """Make a user an operator, or give an operator another role."""
    await connection.execute(
        insert_into(connection, operators)
        .values(user_id=user_id, role=role, created_at=wall.now())
        .on_conflict_do_update(index_elements=["user_id"], set_={"role": role})
    )


async def listed(connection: AsyncConnection) -> list[Operator]:
    """Return all operators, the oldest first."""
    query = (
        select(operators.c.user_id, users.c.email, operators.c.role)
        .join(users, users.c.id == operators.c.user_id)
        .order_by(operators.c.created_at)
    )
    return [Operator(**row) for row in (await connection.execute(query)).mappings()]


async def find(connection: AsyncConnection, email: str) -> Operator:
    """Return the operator of an address. Raises OperatorNotFound."""
    query = (
        select(operators.c.user_id, users.c.email, operators.c.role)
        .join(users, users.c.id == operators.c.user_id)
        .where(users.c.email == email.strip().lower())
    )
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise OperatorNotFound(f"{email.strip()} is not an operator.")
    return Operator(**row)


async def role_of(connection: AsyncConnection, user_id: str) -> OperatorRole | None:
    """Return a user's role, or None if they are no operator."""
    role: OperatorRole | None = await connection.scalar(
        select(operators.c.role).where(operators.c.user_id == user_id)
    )
    return role


async def change_role(connection: AsyncConnection, user_id: str, role: OperatorRole) -> None:
    """Give an operator another role. Raises OperatorNotFound or LastOperatingOwner."""
    if role != "owner":
        await _check_another_owner(connection, user_id)
    changed = await connection.execute(
        update(operators).where(operators.c.user_id == user_id).values(role=role)
    )
    if not changed.rowcount:
        raise OperatorNotFound("There is no such operator.")


async def remove(connection: AsyncConnection, user_id: str) -> None:
    """Make an operator an ordinary user. Raises OperatorNotFound or LastOperatingOwner."""
    await _check_another_owner(connection, user_id)
    removed = await connection.execute(delete(operators).where(operators.c.user_id == user_id))
    if not removed.rowcount:
        raise OperatorNotFound("There is no such operator.")


async def _check_another_owner(connection: AsyncConnection, user_id: str) -> None:
    # so that two owners can't both leave at once
    await alone(connection, "operators")
    owners = await connection.scalars(
        select(operators.c.user_id).where(operators.c.role == "owner")
    )
    if list(owners) == [user_id]:
        raise LastOperatingOwner("The service needs an owner: make someone else an owner first.")


async def exist(connection: AsyncConnection) -> bool:
    """Tell whether there are operators."""
    return await connection.scalar(select(operators.c.user_id).limit(1)) is not None
