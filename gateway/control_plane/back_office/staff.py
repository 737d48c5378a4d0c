"""Who the operators are: added, given another role, removed, and helped when a factor is lost.

There is always an owner among them. An operator sets their first second factor with a token that
`add` and `reset` return: it works once, for an hour.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import enrollments, sessions, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.back_office import acting
from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import Operator, OperatorNotFound
from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import Personal
from gateway.errors import BadRequest
from gateway.storage import tables
from gateway.storage.database import alone


class OperatorExists(BadRequest):
    """The person is already an operator."""

    status = 409
    code = "operator_exists"


class FirstMustOwn(BadRequest):
    """The first operator must be an owner, or nobody could add others."""

    code = "first_operator_must_own"


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """An operator, and the token with which they set their first factor."""

    user_id: str
    email: str
    role: OperatorRole
    token: str


class StaffMember(msgspec.Struct, frozen=True, kw_only=True):
    """An operator, as the list of operators shows them."""

    user_id: str
    email: str
    role: OperatorRole
    created_at: datetime
    has_factor: bool


async def listed(connection: AsyncConnection) -> list[StaffMember]:
    """Return all operators, the oldest first."""
    held = tables.operators.c
    query = (
        select(
            held.user_id,
            tables.users.c.email,
            held.role,
            held.created_at,
            (
                exists().where(tables.authenticators.c.user_id == held.user_id)
                | exists().where(tables.passkeys.c.user_id == held.user_id)
            ).label("has_factor"),
        )
        .join(tables.users, tables.users.c.id == held.user_id)
        .order_by(held.created_at, held.user_id)
    )
    return [StaffMember(**row) for row in (await connection.execute(query)).mappings()]


async def add(
    connection: AsyncConnection,
    operator: Operator,
    address: Address,
    role: OperatorRole,
    reason: str,
) -> Enrolled:
    """Make a person an operator, who need not have signed in before.

    Factors that they had are removed: see `enrollments`. Raises NotPermitted,
    NoReasonGiven, OperatorExists, FirstMustOwn.
    """
    operator.must("operators")
    said = acting.checked(operator, reason)
    await alone(connection, "operators")
    user = await users.find_or_create(connection, address)
    if await operators.role_of(connection, user.id) is not None:
        raise OperatorExists(f"{user.email} is already an operator.", param="email")
    if role != "owner" and not await operators.listed(connection):
        raise FirstMustOwn("The first operator must be an owner.", param="role")
    await operators.add(connection, user.id, role)
    await sessions.doubt(connection, user.id)
    token = await enrollments.begin(connection, user.id)
    await entries.record(
        connection, operator.actor, "operator.added", f"user:{user.id}",
        after={"role": role, "address": Personal(user.email, user.id)}, reason=said,
    )  # fmt: skip
    return Enrolled(user_id=user.id, email=user.email, role=role, token=token)


async def change_role(
    connection: AsyncConnection,
    operator: Operator,
    user_id: str,
    role: OperatorRole,
    reason: str,
) -> None:
    """Give an operator another role.

    Raises NotPermitted, NoReasonGiven, OperatorNotFound, LastOperatingOwner.
    """
    operator.must("operators")
    said = acting.checked(operator, reason)
    before = await operators.role_of(connection, user_id)
    await operators.change_role(connection, user_id, role)
    await entries.record(
        connection, operator.actor, "operator.role_changed", f"user:{user_id}",
        before={"role": before}, after={"role": role}, reason=said,
    )  # fmt: skip


async def remove(
    connection: AsyncConnection, operator: Operator, user_id: str, reason: str
) -> None:
    """Make an operator an ordinary user. Raises as `change_role`."""
    operator.must("operators")
    said = acting.checked(operator, reason)
    before = await operators.role_of(connection, user_id)
    await operators.remove(connection, user_id)
    await enrollments.cancel(connection, user_id)
    await sessions.doubt(connection, user_id)
    await entries.record(
        connection, operator.actor, "operator.removed", f"user:{user_id}",
        before={"role": before}, reason=said,
    )  # fmt: skip


async def reset(connection: AsyncConnection, operator: Operator, user_id: str, reason: str) -> str:
    """Remove an operator's factors and sessions; return a token for a new factor.

    For a phone or a laptop that was lost. Raises NotPermitted, NoReasonGiven, OperatorNotFound.
    """
    operator.must("operators")
    said = acting.checked(operator, reason)
    if await operators.role_of(connection, user_id) is None:
        raise OperatorNotFound("There is no such operator.")
    token = await enrollments.begin(connection, user_id)
    await sessions.doubt(connection, user_id)
    await sessions.end_all(connection, user_id)
    await entries.record(
        connection, operator.actor, "operator.reset", f"user:{user_id}", reason=said
    )
    return token
