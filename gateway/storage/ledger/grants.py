"""Credit: accounts opened, lots granted, payments reversed, lots expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import new_id
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger import postings
from gateway.storage.tables import accounts, credit_lots, ledger_entries

Kind = Literal["promo", "paid"]

_COUNTERPARTS = {"promo": "promo_expense", "paid": "stripe_clearing"}
_NOTHING_USED = {"leased_nanos": 0, "owed_nanos": 0, "spent_nanos": 0, "frozen": False}
_RETURNING = (credit_lots.c.kind == "promo", credit_lots.c.id.desc())
"""The order in which lots give back a returned payment: paid ones first, the newest first."""
_EXPIRE_AT_ONCE = 500
_EXPIRY_GRACE = timedelta(seconds=10)
"""How late usage of a lot's last moments may reach the ledger and still burn that lot."""


async def open_account(connection: AsyncConnection, organization_id: str) -> None:
    """Open the account of a new organization, empty."""
    await connection.execute(
        insert(accounts).values(
            id=organization_id, organization_id=organization_id, available_nanos=0, **_NOTHING_USED
        )
    )


async def open_budget(
    connection: AsyncConnection,
    account_id: str,
    organization_id: str,
    key_id: str,
    period: str,
    limit_nanos: int,
) -> None:
    """Open the account of a key's budget for a period, with all of its limit, unless it is open."""
    await connection.execute(
        insert_into(connection, accounts)
        .values(
            id=account_id,
            organization_id=organization_id,
            key_id=key_id,
            period=period,
            limit_nanos=limit_nanos,
            available_nanos=limit_nanos,
            **_NOTHING_USED,
        )
        .on_conflict_do_nothing()
    )


async def grant(
    connection: AsyncConnection,
    organization_id: str,
    amount_nanos: int,
    *,
    kind: Kind,
    source_ref: str,
    expires_at: datetime | None = None,
) -> bool:
    """Add a lot of credit, once for each `source_ref`; return whether it was added now.

    It pays what the organization owes first. Once nothing is owed, the account is no longer frozen.
    """
    now = datetime.now(UTC)
    lot_id = new_id()
    account = await postings.lock_account(connection, organization_id)
    assert account is not None, "an organization is created with its account"
    owed = min(account.owed_nanos, amount_nanos)
    added = await connection.scalar(
        insert_into(connection, credit_lots)
        .values(
            id=lot_id,
            organization_id=organization_id,
            kind=kind,
            amount_nanos=amount_nanos,
            remaining_nanos=amount_nanos - owed,
            source_ref=source_ref,
            created_at=now,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing(index_elements=["source_ref"])
        .returning(credit_lots.c.id)
    )
    if added is None:
        return False
    await pay_in(connection, organization_id, amount_nanos)
    counterpart = _COUNTERPARTS[kind]
    await postings.enter(
        connection, organization_id, "grant", lot_id, amount_nanos, counterpart, now
    )
    return True


async def reverse(
    connection: AsyncConnection, organization_id: str, amount_nanos: int, *, ref: str
) -> bool:
    """Take back what a refund or a dispute returned, once for each `ref`.

    Takes what is available and not leased; the rest is owed, and the account is frozen until a
    grant has paid it. Returns whether it was taken now.
    """
    assert amount_nanos > 0
    now = datetime.now(UTC)
    account = await postings.lock_account(connection, organization_id)
    assert account is not None
    known = select(ledger_entries.c.id).where(
        ledger_entries.c.kind == "reversal", ledger_entries.c.ref == ref
    )
    if await connection.scalar(known) is not None:
        return False
    taken = await take_out(connection, organization_id, amount_nanos)
    if taken:
        await postings.burn(connection, organization_id, taken, order=_RETURNING)
    await postings.enter(
        connection, organization_id, "reversal", ref, -amount_nanos, "stripe_clearing", now
    )
    return True


async def pay_in(connection: AsyncConnection, account_id: str, amount_nanos: int) -> None:
    """Add an amount to a locked account; what it owes is paid first."""
    account = await postings.lock_account(connection, account_id)
    assert account is not None
    owed = min(account.owed_nanos, amount_nanos)
    await postings.move(connection, account_id, available=amount_nanos - owed, owed=-owed)
    await _freeze(connection, account_id, frozen=account.owed_nanos > owed)


async def take_out(connection: AsyncConnection, account_id: str, amount_nanos: int) -> int:
    """Take an amount from a locked account, into debt if need be; return what was available."""
    account = await postings.lock_account(connection, account_id)
    assert account is not None
    taken = min(int(account.available_nanos), amount_nanos)
    owed = amount_nanos - taken
    await postings.move(connection, account_id, available=-taken, owed=owed)
    await _freeze(connection, account_id, frozen=account.owed_nanos + owed > 0)
    return taken


async def expire(database: Database, at: datetime | None = None) -> int:
    """Take back what is left of the lots that have expired; return how many.

    What leases have spent is posted first, so that it burns the lot. Where leases hold some of the
    rest, it is recalled and the lot waits for the next run. Each organization is a transaction, to
    lock in the ledger's order.
    """
    async with database.read() as connection:
        now = at or await postings.database_now(connection)
        overdue = await connection.execute(
            select(credit_lots.c.organization_id, credit_lots.c.id)
            .where(
                credit_lots.c.expires_at < now - _EXPIRY_GRACE, credit_lots.c.remaining_nanos > 0
            )
            .order_by(credit_lots.c.organization_id, credit_lots.c.id)
            .limit(_EXPIRE_AT_ONCE)
        )
        lots: dict[str, list[str]] = {}
        for organization_id, lot_id in overdue.all():
            lots.setdefault(organization_id, []).append(lot_id)
    expired = 0
    for organization_id, lot_ids in lots.items():
        async with database.write() as connection:
            for lease_id in await postings.lock_open_leases(connection, organization_id):
                await postings.lock_account(connection, organization_id)
                await postings.post(connection, lease_id, now)
            for lot_id in lot_ids:
                expired += await _expire(connection, lot_id, organization_id, now)
    return expired


async def _expire(
    connection: AsyncConnection, lot_id: str, organization_id: str, now: datetime
) -> bool:
    account = await postings.lock_account(connection, organization_id)
    assert account is not None
    left = await connection.scalar(
        select(credit_lots.c.remaining_nanos).where(credit_lots.c.id == lot_id)
    )
    if not left:
        return False
    if account.available_nanos < left:
        await connection.execute(
            update(accounts).where(accounts.c.id == organization_id).values(recalled_at=now)
        )
        return False
    await postings.move(connection, organization_id, available=-left)
    await connection.execute(
        update(credit_lots).where(credit_lots.c.id == lot_id).values(remaining_nanos=0)
    )
    await postings.enter(connection, organization_id, "expiry", lot_id, -left, "breakage", now)
    return True


async def _freeze(connection: AsyncConnection, account_id: str, *, frozen: bool) -> None:
    await connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(frozen=frozen)
    )
