"""`gateway credits`: money, in dollars with up to nine decimals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rich_click as click
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cli.printing import DAYS, as_json, asynchronous, in_days, opened, say, show
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.organizations import Organization
from gateway.control_plane.billing import credit
from gateway.data_plane.metering.port import FreezeCause
from gateway.money import money
from gateway.observability.logging import configure
from gateway.storage.ledger import freezes

log = structlog.get_logger()

_ENTRY_MAX = 2**63 - 1
"""Ids of ledger entries are 64-bit integers."""

_WHY_FROZEN: Mapping[FreezeCause, str] = {
    "books": "an audit found its balance wrong; requests get 503 until one finds it right",
    "operator": "suspended by an operator; requests get 403 until `gateway credits unfreeze`",
    "dispute": "a payment is disputed; requests get 402 until the dispute is closed",
    "owing": "a payment went back after its credit was used; requests get 402 until it is paid",
}
_REASON = click.option("--reason", required=True, help="Why; it is kept.")


@click.group("credits")
def credits_group() -> None:
    """Credit, in dollars with up to nine decimals."""


@credits_group.command("grant")
@click.argument("organization")
@click.argument("dollars")
@click.option("--kind", type=click.Choice(["promo", "paid"]), default="promo", show_default=True)
@click.option("--ref", help="A reference: the same one is granted only once.")
@click.option("--expires-days", type=DAYS, help="Days until unspent credit expires.")
@asynchronous
async def grant_credit(
    organization: str, dollars: str, *, kind: Any, ref: str | None, expires_days: int | None
) -> None:
    """Grant credit to an organization."""
    amount = credit.nanos_of_dollars(dollars)
    async with opened() as database, database.write() as connection:
        owner = await organizations.find(connection, organization)
        granted = await credit.grant(
            connection,
            owner.id,
            amount,
            kind=kind,
            source_ref=ref,
            expires_at=in_days(expires_days),
        )
        if ref and not granted:
            await _check_same(connection, owner, credit.Granted(owner.id, amount, kind), ref)
        balance = await credit.balance(connection, owner.id)
    done = f"Granted {money(amount)}" if granted else "Already granted, so nothing changed"
    say(f"{done}. {owner.name} has {_left(balance)}.")


def _left(balance: credit.Balance) -> str:
    owed = f" and owes {money(balance.owed_nanos)}" if balance.owed_nanos else ""
    return f"{money(balance.available_nanos)}{owed}"


async def _check_same(
    connection: AsyncConnection, owner: Organization, wanted: credit.Granted, ref: str
) -> None:
    before = await credit.granted(connection, ref)
    if before is None or before == wanted:
        return
    to = owner.name
    if before.organization_id != owner.id:
        other = await organizations.name_of(connection, before.organization_id)
        to = f"{other} ({before.organization_id})"
    raise credit.GrantedOtherwise(
        f"{ref!r} already granted {money(before.amount_nanos)} ({before.kind}) to {to}; nothing "
        "was granted now. Use another --ref for another grant."
    )


@credits_group.command("take")
@click.argument("organization")
@click.argument("lot")
@click.argument("dollars")
@_REASON
@click.option("--ref", help="A reference: the same one takes from a lot only once.")
@asynchronous
async def take_credit(
    organization: str, lot: str, dollars: str, *, reason: str, ref: str | None
) -> None:
    """Take granted credit back from a lot. `credits balance --json` shows the ids of lots."""
    amount = credit.nanos_of_dollars(dollars)
    async with opened() as database, database.write() as connection:
        owner = await organizations.find(connection, organization)
        taken = await credit.take(connection, owner.id, lot, amount, reason=reason, ref=ref)
        balance = await credit.balance(connection, owner.id)
    done = f"Took {money(amount)}" if taken else "Already taken, so nothing changed"
    say(f"{done}. {owner.name} has {_left(balance)}.")


@credits_group.command("freeze")
@click.argument("organization")
@_REASON
@asynchronous
async def freeze(organization: str, *, reason: str) -> None:
    """Suspend an organization: its requests are answered 403 within a second."""
    async with opened() as database, database.write() as connection:
        owner = await organizations.find(connection, organization)
        frozen = await freezes.freeze(connection, owner.id, "operator", reason=reason)
    say(f"{owner.name} is {'suspended' if frozen else 'suspended already, so nothing changed'}.")


@credits_group.command("unfreeze")
@click.argument("organization")
@click.option("--reason", required=True, help="Why; it is logged to standard error.")
@asynchronous
async def unfreeze(organization: str, *, reason: str) -> None:
    """Lift a suspension. Debts, disputes and audits freeze by themselves, and stay."""
    async with opened() as database, database.write() as connection:
        owner = await organizations.find(connection, organization)
        lifted = await freezes.lift(connection, owner.id, "operator")
        balance = await credit.balance(connection, owner.id)
    if lifted:
        configure("json")
        log.info("suspension lifted", organization=owner.id, reason=reason)
    done = f"is not suspended any more: {reason}" if lifted else "was not suspended"
    still = f" It is still frozen: {', '.join(balance.frozen_by)}." if balance.frozen_by else ""
    say(f"{owner.name} {done}.{still}")


@credits_group.command("balance")
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
    show(balance.lots, as_json=False, title="lots", columns=columns)


@credits_group.command("ledger")
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
