"""The basic movements of money in the ledger, statement by statement, for both databases.

The functions of a tick on PostgreSQL, in migrations/sql/0001_lease_fencing.sql and
0002_freezes.sql, do the same. Callers have locked the lease, then the account. Nothing is available
while anything is owed: whatever comes in, or back from a lease, pays the debt first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.storage.tables import accounts, credit_lots, leases, ledger_entries

BURNING: Sequence[ColumnElement[Any]] = (
    credit_lots.c.kind == "paid",
    credit_lots.c.expires_at.is_(None),
    credit_lots.c.expires_at,
    credit_lots.c.id,
)
"""The order in which lots are used up: promo first, then what expires first, then the oldest."""
RETURNING: Sequence[ColumnElement[Any]] = (credit_lots.c.kind == "promo", credit_lots.c.id.desc())
"""The order in which lots refund payments and pay debts: paid first, newest first."""


async def database_now(connection: AsyncConnection) -> datetime:
    """Return the database's time; leases expire by its clock."""
    if connection.dialect.name == "postgresql":
        now: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        return now
    return wall.now()


async def lock_account(connection: AsyncConnection, account_id: str) -> Row[Any] | None:
    """Lock an account and return its row."""
    query = select(accounts).where(accounts.c.id == account_id).with_for_update(key_share=True)
    return (await connection.execute(query)).one_or_none()


async def lock_open_leases(connection: AsyncConnection, account_id: str) -> list[str]:
    """Lock the open leases of an account by id, and return their ids."""
    query = (
        select(leases.c.id)
        .where(leases.c.account_id == account_id, leases.c.state == "open")
        .order_by(leases.c.id)
        .with_for_update(key_share=True)
    )
    return list((await connection.scalars(query)).all())


async def move(connection: AsyncConnection, account_id: str, **nanos: int) -> Row[Any]:
    """Add to columns of an account, named without `_nanos`, and return its row."""
    values = {f"{name}_nanos": accounts.c[f"{name}_nanos"] + by for name, by in nanos.items()}
    changed = await connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(values).returning(accounts)
    )
    row: Row[Any] = changed.one()
    return row


async def enter(
    connection: AsyncConnection,
    organization_id: str,
    kind: str,
    ref: str,
    amount_nanos: int,
    counterpart: str,
    at: datetime,
    reason: str | None = None,
) -> None:
    """Write an entry: an amount to the organization, and from the platform's account."""
    await connection.execute(
        insert(ledger_entries).values(
            organization_id=organization_id,
            kind=kind,
            ref=ref,
            amount_nanos=amount_nanos,
            counterpart=counterpart,
            created_at=at,
            reason=reason,
        )
    )


async def pay_in(connection: AsyncConnection, account_id: str, amount_nanos: int) -> int:
    """Add an amount to a locked account: it pays what is owed, and the rest is available.

    Returns that rest, which the caller adds to lots.
    """
    account = await lock_account(connection, account_id)
    assert account is not None
    rest = amount_nanos - min(int(account.owed_nanos), amount_nanos)
    await move(connection, account_id, available=rest, owed=rest - amount_nanos)
    return rest


async def take_out(
    connection: AsyncConnection, account_id: str, amount_nanos: int, at: datetime
) -> int:
    """Take an amount from a locked account, and return what was available.

    The caller takes that from lots. The rest is owed, and processes are asked to return what they
    hold, which pays it.
    """
    account = await lock_account(connection, account_id)
    assert account is not None
    taken = min(int(account.available_nanos), amount_nanos)
    await move(connection, account_id, available=-taken, owed=amount_nanos - taken)
    if taken < amount_nanos:
        await recall(connection, account_id, at)
    return taken


async def recall(connection: AsyncConnection, account_id: str, at: datetime) -> None:
    """Ask the processes that hold leases of a locked account to return what they don't use."""
    await connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(recalled_at=at)
    )


async def burn(
    connection: AsyncConnection,
    organization_id: str,
    amount_nanos: int,
    *,
    order: Sequence[ColumnElement[Any]] = BURNING,
) -> None:
    """Take an amount from the lots, one after the other."""
    lots = await connection.execute(
        select(credit_lots.c.id, credit_lots.c.remaining_nanos)
        .where(credit_lots.c.organization_id == organization_id, credit_lots.c.remaining_nanos > 0)
        .order_by(*order)
    )
    for lot_id, remaining in lots.all():
        part = min(remaining, amount_nanos)
        await connection.execute(
            update(credit_lots).where(credit_lots.c.id == lot_id).values(burning(part))
        )
        amount_nanos -= part
        if not amount_nanos:
            return
    assert amount_nanos == 0, "an account held more than its lots"


def burning(amount_nanos: int) -> dict[str, ColumnElement[int]]:
    """Return the values of a lot's row after taking an amount; a negative amount puts it back."""
    return {
        "remaining_nanos": credit_lots.c.remaining_nanos - amount_nanos,
        "burned_nanos": credit_lots.c.burned_nanos + amount_nanos,
    }


async def post(connection: AsyncConnection, lease_id: str, at: datetime) -> None:
    """Enter in the ledger what a lease has spent since its last posting."""
    lease = (await connection.execute(select(leases).where(leases.c.id == lease_id))).one()
    due = lease.spent_nanos - lease.posted_nanos
    if not due:
        return
    await connection.execute(
        update(leases)
        .where(leases.c.id == lease_id)
        .values(posted_nanos=lease.spent_nanos, postings=lease.postings + 1)
    )
    owner = await move(connection, lease.account_id, leased=-due, spent=due)
    if owner.key_id is None:
        await burn(connection, owner.id, due)
        ref = f"{lease_id}:{lease.postings + 1}"
        await enter(connection, owner.id, "usage", ref, -due, "revenue", at)


async def debit(
    connection: AsyncConnection, account_id: str, cost_nanos: int, request_id: str, at: datetime
) -> None:
    """Charge an account for a request whose lease is closed. The caller saw that it can pay."""
    owner = await move(connection, account_id, available=-cost_nanos, spent=cost_nanos)
    if owner.key_id is None and cost_nanos:
        await burn(connection, owner.id, cost_nanos)
        await enter(connection, owner.id, "usage", request_id, -cost_nanos, "revenue", at)


async def keep(connection: AsyncConnection, lease_id: str, keep_nanos: int) -> None:
    """Lower a posted lease to `keep_nanos` at most; the rest goes back to its account.

    What the account owes is paid first. The balance is the same before and after, so that has no
    entry in the ledger.
    """
    lease = (await connection.execute(select(leases).where(leases.c.id == lease_id))).one()
    back = lease.granted_nanos - max(keep_nanos, lease.spent_nanos)
    if back > 0:
        await connection.execute(
            update(leases)
            .where(leases.c.id == lease_id)
            .values(granted_nanos=lease.granted_nanos - back)
        )
        account = await lock_account(connection, lease.account_id)
        assert account is not None
        paid = min(account.owed_nanos, back)
        await move(connection, account.id, leased=-back, available=back - paid, owed=-paid)
        if paid and account.key_id is None:
            await burn(connection, account.id, paid, order=RETURNING)


async def close(connection: AsyncConnection, lease_id: str, at: datetime) -> None:
    """Post a lease, return its rest, and close it."""
    await post(connection, lease_id, at)
    await keep(connection, lease_id, 0)
    await connection.execute(update(leases).where(leases.c.id == lease_id).values(state="closed"))
