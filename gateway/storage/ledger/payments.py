"""Credit that payments add and take back, in whatever order.

Reconciliation says how much credit a payment should have posted now; the difference to what it has
posted is one entry of the ledger, against `receivable`. The caller holds the payment's row locked
and stores what is posted with it, so that nothing is posted twice. The order of locks is payments,
leases, accounts, lots.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, case, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import new_id
from gateway.storage.ledger import postings
from gateway.storage.tables import credit_lots


async def post(
    connection: AsyncConnection,
    organization_id: str,
    payment_id: str,
    *,
    credit_nanos: int,
    posted_nanos: int,
    desired_nanos: int,
    number: int,
) -> None:
    """Post the difference between the credit that a payment should have and the credit it has.

    An increase first pays what the organization owes, and the rest goes into the payment's lot. A
    decrease takes what is available; the remainder is owed, and freezes the organization. `number`
    counts the postings of the payment.
    """
    assert 0 <= posted_nanos <= credit_nanos
    assert 0 <= desired_nanos <= credit_nanos
    difference = desired_nanos - posted_nanos
    if not difference:
        return
    now = await postings.database_now(connection)
    account = await postings.lock_account(connection, organization_id)
    assert account is not None, "an organization is created with its account"
    lot_id = await _lot(connection, organization_id, payment_id, credit_nanos, now)
    own_first = case((credit_lots.c.id == lot_id, 0), else_=1)
    if difference > 0:
        rest = await postings.pay_in(connection, organization_id, difference)
        await _refill(connection, organization_id, rest, own_first)
    else:
        taken = await postings.take_out(connection, organization_id, -difference, now)
        if taken:
            order = (own_first, *postings.RETURNING)
            await postings.burn(connection, organization_id, taken, order=order)
    await postings.enter(
        connection,
        organization_id,
        "topup" if difference > 0 else "reversal",
        f"{payment_id}:{number}",
        difference,
        "receivable",
        now,
    )


def source_ref(payment_id: str) -> str:
    """Return the `source_ref` of a payment's lot."""
    return f"payment:{payment_id}"


async def _lot(
    connection: AsyncConnection,
    organization_id: str,
    payment_id: str,
    credit_nanos: int,
    now: datetime,
) -> str:
    """Return the id of the payment's lot; it is made at the first posting, empty."""
    ref = source_ref(payment_id)
    query = select(credit_lots.c.id).where(credit_lots.c.source_ref == ref)
    known: str | None = await connection.scalar(query)
    if known is not None:
        return known
    lot_id = new_id()
    await connection.execute(
        insert(credit_lots).values(
            id=lot_id,
            organization_id=organization_id,
            kind="paid",
            amount_nanos=credit_nanos,
            remaining_nanos=0,
            burned_nanos=credit_nanos,
            source_ref=ref,
            created_at=now,
        )
    )
    return lot_id


async def _refill(
    connection: AsyncConnection,
    organization_id: str,
    amount_nanos: int,
    own_first: ColumnElement[int],
) -> None:
    """Put an amount into the payment's lot.

    When the payment was reversed while processes held its credit, the lot kept what they held, and
    other credit paid the debt. Then the lot has no room, but those that paid have.
    """
    if not amount_nanos:
        return
    room = credit_lots.c.amount_nanos - credit_lots.c.remaining_nanos
    lots = await connection.execute(
        select(credit_lots.c.id, room.label("nanos"))
        .where(credit_lots.c.organization_id == organization_id, room > 0)
        .order_by(own_first, credit_lots.c.expires_at.is_not(None), *postings.RETURNING)
    )
    for lot in lots.all():
        part = min(lot.nanos, amount_nanos)
        await connection.execute(
            update(credit_lots).where(credit_lots.c.id == lot.id).values(postings.burning(-part))
        )
        amount_nanos -= part
        if not amount_nanos:
            return
    assert amount_nanos == 0, "an account has more credit than it was ever given"
