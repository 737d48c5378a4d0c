"""Organizations that operators create, for those who do not sign up by themselves."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.organizations import Organization
from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import record


async def make_organization(
    connection: AsyncConnection, operator: Operator, name: str, *, reason: str
) -> Organization:
    """Make an organization without credit or members.

    Raises NotPermitted, NoReasonGiven, and BadRequest for an invalid name.
    """
    operator.must("support")
    reason = acting.checked(operator, reason)
    created = await organizations.create(connection, name)
    await record(
        connection,
        operator.actor,
        "organization.created",
        f"organization:{created.id}",
        organization_id=created.id,
        reason=reason,
    )
    return created
