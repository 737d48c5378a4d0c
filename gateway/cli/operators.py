"""`gateway operators`: who runs the service."""

from __future__ import annotations

from typing import Any, get_args

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.accounts import addresses, enrollments
from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.back_office import staff
from gateway.control_plane.operators import operators
from gateway.settings import Settings

_ROLE = click.Choice(get_args(OperatorRole))


@click.group("operators")
def operators_group() -> None:
    """The people who run the service, in the back office and on the command line."""


@operators_group.command("add", epilog="Example: gateway operators add me@example.com --role owner")
@click.argument("address")
@click.option("--role", type=_ROLE, required=True, help="What they may do.")
@acting_as
@because
@asynchronous
async def add_operator(address: str, *, role: Any, acting: str | None, reason: str) -> None:
    """Make a person an operator, and print the address where they set up their second factor."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        added = await staff.add(connection, operator, addresses.parse(address), role, reason)
    say(f"{added.email} is an operator: {role}.")
    _say_enrollment(added.token)


@operators_group.command("list", epilog="Example: gateway operators list")
@as_json
@asynchronous
async def list_operators(*, as_json: bool) -> None:
    """List the operators, and whether they have set up a second factor."""
    async with opened() as database, database.read() as connection:
        found = await staff.listed(connection)
    show(found, as_json=as_json, title="operators")


@operators_group.command("role", epilog="Example: gateway operators role me@example.com finance")
@click.argument("address")
@click.argument("role", type=_ROLE)
@acting_as
@because
@asynchronous
async def change_operator(address: str, role: Any, *, acting: str | None, reason: str) -> None:
    """Give an operator another role."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        changed = await operators.find(connection, address)
        assert changed.user_id
        await staff.change_role(connection, operator, changed.user_id, role, reason)
    say(f"{changed.email} is an operator: {role}.")


@operators_group.command("remove", epilog="Example: gateway operators remove me@example.com")
@click.argument("address")
@acting_as
@because
@asynchronous
async def remove_operator(address: str, *, acting: str | None, reason: str) -> None:
    """Make an operator an ordinary user. The last owner can't be removed."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        removed = await operators.find(connection, address)
        assert removed.user_id
        await staff.remove(connection, operator, removed.user_id, reason)
    say(f"{removed.email} is no longer an operator.")


@operators_group.command("reset", epilog="Example: gateway operators reset me@example.com")
@click.argument("address")
@acting_as
@because
@asynchronous
async def reset_operator(address: str, *, acting: str | None, reason: str) -> None:
    """Remove an operator's second factors and sessions, as for a lost phone."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        found = await operators.find(connection, address)
        assert found.user_id
        token = await staff.reset(connection, operator, found.user_id, reason)
    say(f"The second factors of {found.email} are removed, and their sessions ended.")
    _say_enrollment(token)


def _say_enrollment(token: str) -> None:
    url = Settings.from_environment().admin_address
    say(f"\n{url}{enrollments.PATH}{token}\n\nThey set up a second factor there within an hour.")
