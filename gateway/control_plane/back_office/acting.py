"""Who acts: an operator named on the command line, or one who ordered something earlier."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office.orders import REASON_CHARACTERS_MAX
from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import COMMAND_LINE, Operator
from gateway.errors import BadRequest
from gateway.storage.database import Database

COMMANDS_ORIGIN = "command line"
"""Where a command's action comes from, in the audit trail."""


class WhoActs(BadRequest):
    """A command does not say which operator acts."""

    code = "operator_needed"


class ReasonNeeded(BadRequest):
    """An action of the back office says why it is done."""

    code = "reason_needed"


async def named(database: Database, address: str | None) -> Operator:
    """Return the operator with a mail address, as whom a command acts.

    While there are no operators nobody needs to be named, and the command line acts as an owner.
    Raises WhoActs.
    """
    async with database.read() as connection:
        known = await operators.listed(connection)
    if not known and address is None:
        return COMMAND_LINE
    if address is None:
        raise WhoActs("Say which operator you are: --as ADDRESS.")
    for one in known:
        if one.email == address.strip().lower():
            return _from(one, COMMANDS_ORIGIN)
    raise WhoActs(f"{address!r} is no operator; see `gateway operators list`.")


async def of_user(connection: AsyncConnection, user_id: str | None) -> Operator | None:
    """Return the operator that a user is now; None if they are none any more."""
    if user_id is None:
        return COMMAND_LINE
    known = await operators.listed(connection)
    return next((one for one in known if one.user_id == user_id), None)


def checked(reason: str) -> str:
    """Return a reason without what surrounds it. Raises ReasonNeeded."""
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_CHARACTERS_MAX:
        raise ReasonNeeded(f"Say why, in 1 to {REASON_CHARACTERS_MAX} characters.", param="words")
    return reason


def _from(operator: Operator, origin: str) -> Operator:
    return Operator(
        user_id=operator.user_id, email=operator.email, role=operator.role, origin=origin
    )
