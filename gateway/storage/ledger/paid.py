"""Who spent credit that they had bought, read from the ledger.

Its entries don't say which lot they burnt, and need not: promo burns first. So what was paid for is
touched whenever usage comes to more than all promo credit so far, less what of it expired; and it
is touched anew whenever that difference passes its own highest mark. What a promo grant paid of a
debt counts as if it could still be spent, so nobody is counted who has not paid.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, Text, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.tables import credit_lots, ledger_entries


async def spenders(
    connection: AsyncConnection,
    organizations: Select[tuple[str]],
    *,
    since: datetime,
    until: datetime,
) -> set[str]:
    """Return those organizations that spent bought credit from one moment to another."""
    entry = ledger_entries.c
    lot = (
        select(credit_lots.c.kind)
        .where(
            credit_lots.c.organization_id == entry.organization_id,
            cast(credit_lots.c.id, Text) == entry.ref,
        )
        .scalar_subquery()
    )
    counts = case(
        (entry.kind == "usage", 1),
        ((entry.kind == "grant") & (entry.counterpart == "promo_expense"), 1),
        ((entry.kind == "expiry") & (lot == "promo"), 1),
        else_=0,
    )
    beyond_promo = func.sum(-entry.amount_nanos * counts).over(
        partition_by=entry.organization_id, order_by=entry.id
    )
    line = (
        select(entry.organization_id, entry.kind, entry.created_at, beyond_promo.label("nanos"))
        .where(entry.organization_id.in_(organizations))
        .subquery()
    )
    is_within = (line.c.kind == "usage") & (line.c.created_at >= since)
    found = await connection.execute(
        select(
            line.c.organization_id,
            func.max(case((line.c.created_at < since, line.c.nanos), else_=0)).label("before"),
            func.max(case((is_within, line.c.nanos), else_=0)).label("within"),
        )
        .where(line.c.created_at < until)
        .group_by(line.c.organization_id)
    )
    return {row.organization_id for row in found if row.within > row.before}
