"""`gateway credits`, the commands for orders of money that wait for a second operator."""

from __future__ import annotations

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.moving import moves_of
from gateway.cli.payments import maybe_selling
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import approvals
from gateway.money import money

_COLUMNS = ["id", "organization", "amount_nanos", "operator", "reason", "created_at", "due_at"]


@click.command("approvals", epilog="Example: gateway credits approvals")
@as_json
@asynchronous
async def list_approvals(*, as_json: bool) -> None:
    """Show what is waiting for a second operator."""
    async with opened() as database, database.read() as connection:
        found = await approvals.waiting(connection)
    show(found, as_json=as_json, title="approvals", columns=None if as_json else _COLUMNS)


@click.command("approve", epilog="Example: gateway credits approve ORDER_ID --as me@example.com")
@click.argument("order")
@acting_as
@asynchronous
async def approve(order: str, *, acting: str | None) -> None:
    """Carry out what another operator ordered."""
    async with maybe_selling() as (database, parts):
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        done = await moves_of(database, parts).approve(operator, order)
    say(f"Approved: {money(done.amount_nanos)} moved.")


@click.command("reject", epilog='Example: gateway credits reject ORDER_ID --reason "not agreed"')
@click.argument("order")
@acting_as
@because
@asynchronous
async def reject(order: str, *, acting: str | None, reason: str) -> None:
    """Reject what another operator ordered, or withdraw your own order."""
    async with opened() as database:
        async with database.read() as connection:
            operator = await operator_of(connection, acting)
        await moves_of(database, None).reject(operator, order, reason=reason)
    say(f"Rejected {order}.")
