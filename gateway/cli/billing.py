"""`gateway credits`: money, in dollars with up to nine decimals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.lazy import Later, LazyGroup
from gateway.cli.moving import mails_of, moving, waits
from gateway.cli.printing import DAYS, as_json, asynchronous, opened, say, show
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.organizations import Organization
from gateway.control_plane.back_office import orders
from gateway.control_plane.back_office.freezes import suspend, unsuspend
from gateway.control_plane.back_office.moves import MoveOutcome
from gateway.control_plane.back_office.orders import GrantOrder, TakeOrder, UndoOrder
from gateway.control_plane.billing import credit
from gateway.control_plane.operators.operators import Operator
from gateway.data_plane.metering.port import FreezeCause
from gateway.identifiers import new_id
from gateway.money import money
from gateway.storage.database import Database
from gateway.storage.ledger import freezes

_ENTRY_MAX = 2**63 - 1
"""Ids of ledger entries are 64-bit integers."""

_WHY_FROZEN: Mapping[FreezeCause, str] = {
    "books": "an audit found its balance wrong, until one finds it right; or the ledger refused "
    "its usage, until `gateway credits unfreeze`. Meanwhile requests get 503",
    "operator": "suspended by an operator; requests get 403 until `gateway credits unfreeze`",
    "dispute": "a payment is disputed; requests get 402 until the dispute is closed",
    "owing": "a payment was reversed after its credit was used; requests get 402 until it is paid",
}
_DOLLARS = "Dollars, with up to nine decimals: 0.000000001 is a nano-dollar."
_REASON = click.option("--reason", required=True, help="Why; this is kept.")


@click.group("credits", cls=LazyGroup)
def credits_group() -> None:
    """Credit, in dollars with up to nine decimals."""


for _command in (
    Later("approvals", "approvals:list_approvals", "Show what is waiting for a second operator."),
    Later("approve", "approvals:approve", "Carry out what another operator ordered."),
    Later(
        "reject",
        "approvals:reject",
        "Reject what another operator ordered, or withdraw your own order.",
    ),
):
    credits_group.add_command(_command)


@credits_group.command("grant", epilog="Example: gateway credits grant Acme 5 --ref welcome-acme")
@click.argument("organization")
@click.argument("dollars", help=_DOLLARS)
@click.option("--kind", type=click.Choice(["promo", "paid"]), default="promo", show_default=True)
@click.option("--ref", help="A reference; the same reference is granted only once.")
@click.option("--expires-days", type=DAYS, help="Days until unspent credit expires.")
@acting_as
@because
@asynchronous
async def grant_credit(
    organization: str,
    dollars: str,
    *,
    kind: Any,
    ref: str | None,
    expires_days: int | None,
    acting: str | None,
    reason: str,
) -> None:
    """Grant credit to an organization."""
    amount = credit.nanos_of_dollars(dollars)
    order_id = orders.named("grant", ref) if ref else new_id()
    async with moving() as (database, moves):
        operator, owner = await _involved(database, acting, organization)
        order = GrantOrder(
            organization_id=owner.id,
            amount_nanos=amount,
            source_ref=ref or f"operator:{order_id}",
            kind=kind,
            expires_days=expires_days,
        )
        done = await moves.order(operator, order, order_id=order_id, reason=reason)
        words = {
            "done": f"Granted {money(amount)}",
            "repeated": "Already granted, so nothing changed",
        }
        await _say_moved(database, owner, done, words)


@credits_group.command(
    "take", epilog='Example: gateway credits take Acme GRANT_ID 2.50 --reason "granted twice"'
)
@click.argument("organization")
@click.argument("grant", help="The grant's id; `credits balance` shows it.")
@click.argument("dollars", help=_DOLLARS)
@click.option("--ref", help="A reference; the same reference takes from a grant only once.")
@acting_as
@_REASON
@asynchronous
async def take_credit(
    organization: str, grant: str, dollars: str, *, ref: str | None, acting: str | None, reason: str
) -> None:
    """Take back what is left of a grant, or part of it."""
    amount = credit.nanos_of_dollars(dollars)
    order_id = orders.named("take", grant, ref) if ref else new_id()
    async with moving() as (database, moves):
        operator, owner = await _involved(database, acting, organization)
        order = TakeOrder(
            organization_id=owner.id, lot_id=grant, amount_nanos=amount, ref=ref or order_id
        )
        done = await moves.order(operator, order, order_id=order_id, reason=reason)
        words = {"done": f"Took {money(amount)}", "repeated": "Already taken, so nothing changed"}
        await _say_moved(database, owner, done, words)


@credits_group.command(
    "undo", epilog='Example: gateway credits undo Acme 17 --reason "granted twice"'
)
@click.argument("organization")
@click.argument("entry", type=click.IntRange(1, _ENTRY_MAX))
@acting_as
@because
@asynchronous
async def undo_entry(organization: str, entry: int, *, acting: str | None, reason: str) -> None:
    """Reverse a grant or a taking with another entry, once. `credits ledger` shows the ids."""
    async with moving() as (database, moves):
        operator, owner = await _involved(database, acting, organization)
        order = UndoOrder(organization_id=owner.id, entry_id=entry)
        done = await moves.order(operator, order, order_id=new_id(), reason=reason)
        words = {"done": f"Undone: {money(done.amount_nanos)}"}
        await _say_moved(database, owner, done, words)


async def _involved(
    database: Database, acting: str | None, organization: str
) -> tuple[Operator, Organization]:
    async with database.read() as connection:
        operator = await operator_of(connection, acting)
        return operator, await organizations.find(connection, organization)


async def _say_moved(
    database: Database, owner: Organization, done: MoveOutcome, words: Mapping[str, str]
) -> None:
    async with database.read() as connection:
        balance = await credit.balance(connection, owner.id)
    said = f"{words[done.state]}." if done.state in words else waits(done)
    say(f"{said} {owner.name} has {_left(balance)}.")


def _left(balance: credit.Balance) -> str:
    owed = f" and owes {money(balance.owed_nanos)}" if balance.owed_nanos else ""
    return f"{money(balance.available_nanos)}{owed}"


@credits_group.command(
    "freeze", epilog='Example: gateway credits freeze Acme --reason "a stolen card"'
)
@click.argument("organization")
@acting_as
@_REASON
@asynchronous
async def freeze(organization: str, *, acting: str | None, reason: str) -> None:
    """Suspend an organization: its requests are answered 403 within a second."""
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        owner = await organizations.find(connection, organization)
        frozen = await suspend(
            connection, operator, owner.id, reason=reason, mails=mails_of(database)
        )
    say(f"{owner.name} is {'suspended' if frozen else 'already suspended, so nothing changed'}.")


@credits_group.command(
    "unfreeze", epilog='Example: gateway credits unfreeze Acme --reason "the card was theirs"'
)
@click.argument("organization")
@acting_as
@_REASON
@asynchronous
async def unfreeze(organization: str, *, acting: str | None, reason: str) -> None:
    """Lift a suspension, or a freeze because the ledger refused the organization's usage.

    Freezes by debts, disputes and audits stay: they end with their cause.
    """
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        owner = await organizations.find(connection, organization)
        lifted = await unsuspend(
            connection, operator, owner.id, reason=reason, mails=mails_of(database)
        )
        balance = await credit.balance(connection, owner.id)
    done = f"is no longer suspended: {reason}" if lifted else "was not suspended"
    still = f" It is still frozen: {', '.join(balance.frozen_by)}." if balance.frozen_by else ""
    say(f"{owner.name} {done}.{still}")


@credits_group.command("balance", epilog="Example: gateway credits balance Acme")
@click.argument("organization")
@as_json
@asynchronous
async def show_balance(organization: str, *, as_json: bool) -> None:
    """Show what an organization may spend, and where it came from."""
    async with opened() as database, database.read() as connection:
        owner = await organizations.find(connection, organization)
        balance = await credit.balance(connection, owner.id)
        frozen = await freezes.of_account(connection, owner.id)
    if as_json:
        show(balance, as_json=True)
        return
    held = money(balance.reserved_nanos)
    say(f"{_left(balance)} available, {held} of it held by gateways")
    for cause in balance.frozen_by:
        say(f"Frozen: {_WHY_FROZEN[cause]}")
    if frozen:
        show(frozen, as_json=False, title="freezes")
    columns = ["id", "kind", "amount_nanos", "remaining_nanos", "source_ref", "expires_at"]
    show(balance.lots, as_json=False, title="grants", columns=columns)


@credits_group.command("ledger", epilog="Example: gateway credits ledger Acme --limit 10")
@click.argument("organization")
@click.option("--before", type=click.IntRange(1, _ENTRY_MAX), help="Show entries before this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@asynchronous
async def show_ledger(organization: str, *, before: int | None, limit: int, as_json: bool) -> None:
    """Show an organization's ledger, newest first."""
    async with opened() as database, database.read() as connection:
        owner = await organizations.find(connection, organization)
        entries = await credit.ledger(connection, owner.id, before=before, limit=limit)
    show(entries, as_json=as_json, title="entries")
