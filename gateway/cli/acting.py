"""The operator that a command acts as: `--as ADDRESS`. Their role and limits apply."""

from __future__ import annotations

import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import COMMAND_LINE, Operator
from gateway.errors import BadRequest

acting_as = click.option(
    "--as", "acting", metavar="ADDRESS", help="The operator who acts; required once there is one."
)
because = click.option("--reason", default="", help="Why, for the audit trail.")


class NobodyActs(BadRequest):
    """A command was given without saying which operator acts."""

    code = "nobody_acts"


async def operator_of(connection: AsyncConnection, address: str | None) -> Operator:
    """Return who acts. Raises NobodyActs, OperatorNotFound.

    While there are no operators, it is the command line itself, which may do everything.
    """
    if address:
        return await operators.find(connection, address)
    if await operators.exist(connection):
        raise NobodyActs("Say who acts with --as ADDRESS, one of `gateway operators list`.")
    return COMMAND_LINE
