"""`gateway credits` and `gateway audit`: money, in dollars with up to nine decimals."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cli.printing import DAYS, as_json, asynchronous, in_days, opened, say, show
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.organizations import Organization
from gateway.control_plane.billing import credit
from gateway.money import money
from gateway.storage.ledger import invariants

_ENTRY_MAX = 2**63 - 1
"""Ids of ledger entries are 64-bit integers."""


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
    say(f"{done}. {owner.name} has {money(balance.available_nanos)}.")


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


@credits_group.command("balance")
@click.argument("organization")
@as_json
@asynchronous
async def show_balance(organization: str, *, as_json: bool) -> None:
    """Show what an organization may spend, and where it came from."""
    async with opened() as database, database.read() as connection:
        owner = await organizations.find(connection, organization)
        balance = await credit.balance(connection, owner.id)
    if as_json:
        show(balance, as_json=True)
        return
    held = money(balance.reserved_nanos)
    say(f"{money(balance.available_nanos)} available, {held} of it held by gateways")
    columns = ["kind", "amount_nanos", "remaining_nanos", "source_ref", "expires_at"]
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


@click.command("audit")
@as_json
@asynchronous
async def audit(*, as_json: bool) -> None:
    """Check the invariants of the ledger; exits with 1 if one is broken."""
    async with opened() as database, database.read() as connection:
        breaches = await invariants.audit(connection)
    if as_json:
        found = [{"name": b.invariant.name, "culprits": b.culprits} for b in breaches]
        show(found, as_json=True)
    else:
        broken = {breach.invariant.name: breach.culprits for breach in breaches}
        for invariant in invariants.INVARIANTS:
            culprits = broken.get(invariant.name)
            mark = f"BROKEN by {', '.join(culprits)}" if culprits else "ok"
            say(f"{invariant.name}: {mark}  ({invariant.rule})")
    if breaches:
        sys.exit(1)
