"""Operators: users with a role in running the service."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.operators.permissions import PERMISSIONS, Permission
from gateway.control_plane.trail.entries import Actor, ActorKind
from gateway.errors import GatewayError
from gateway.storage.database import insert_into
from gateway.storage.tables import operators, users


class NotPermitted(GatewayError):
    """The operator's role does not allow this."""

    status = 403
    type = "permission_error"
    code = "operator_not_permitted"


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
        .values(user_id=user_id, role=role, created_at=datetime.now(UTC))
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
