"""Who ordered something earlier, and why anything is done."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office.orders import REASON_CHARACTERS_MAX
from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import COMMAND_LINE, Operator
from gateway.errors import BadRequest


class NoReasonGiven(BadRequest):
    """An action of the back office says why it is done."""

    code = "reason_needed"


async def of_user(connection: AsyncConnection, user_id: str | None) -> Operator | None:
    """Return the operator that a user is now; None if they are none any more."""
    if user_id is None:
        return COMMAND_LINE
    known = await operators.listed(connection)
    return next((one for one in known if one.user_id == user_id), None)


def checked(operator: Operator, reason: str, *, param: str = "reason") -> str:
    """Return a reason without the space around it. Raises NoReasonGiven, which names the field.

    Only commands that are given before there are operators may leave it out.
    """
    reason = reason.strip()
    is_needed = operator.user_id is not None
    if len(reason) > REASON_CHARACTERS_MAX or (is_needed and not reason):
        raise NoReasonGiven(f"Say why, in 1 to {REASON_CHARACTERS_MAX} characters.", param=param)
    return reason
