"""Undoing a grant or a taking: by an entry that reverses it, once. No entry is ever removed."""

from __future__ import annotations

import math
from datetime import timedelta

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office.orders import GrantOrder, TakeOrder, UndoOrder
from gateway.control_plane.billing.credit import LedgerEntry
from gateway.errors import BadRequest
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import credit_lots, ledger_entries

UNDONE = ("grant", "takeback")
"""The kinds of entries that can be undone."""


class CannotUndo(BadRequest):
    """The entry is none that can be undone, or nothing is left to reverse."""

    code = "cannot_undo"


async def find(connection: AsyncConnection, organization_id: str, entry_id: int) -> LedgerEntry:
    """Return an entry of an organization that may be undone. Raises CannotUndo."""
    entry = ledger_entries.c
    query = select(*(entry[name] for name in LedgerEntry.__struct_fields__)).where(
        entry.id == entry_id, entry.organization_id == organization_id
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise CannotUndo("The organization has no such entry.")
    if row["kind"] not in UNDONE:
        raise CannotUndo("Only grants and deductions can be undone; a payment is refunded.")
    return LedgerEntry(**row)


async def reversal(connection: AsyncConnection, order: UndoOrder) -> GrantOrder | TakeOrder:
    """Return the order that reverses an entry. Raises CannotUndo.

    A grant is taken back as far as it is not used. What was taken is granted again, until its lot
    would have expired.
    """
    undone = await find(connection, order.organization_id, order.entry_id)
    ref, lot_id = f"undo:{undone.id}", undone.ref.partition(":")[0]
    lot = credit_lots.c
    columns = (lot.kind, lot.remaining_nanos, lot.expires_at)
    of = (await connection.execute(select(*columns).where(lot.id == lot_id))).one()
    if undone.kind == "grant":
        entry = ledger_entries.c
        taken = (entry.kind == "takeback") & (entry.ref == f"{lot_id}:ref:{ref}")
        if await connection.scalar(select(exists().where(taken))):
            raise CannotUndo("This entry was already undone.")
        if not of.remaining_nanos:
            raise CannotUndo("All of this credit has been used or taken back, so nothing is left.")
        return TakeOrder(
            organization_id=order.organization_id,
            lot_id=lot_id,
            amount_nanos=min(undone.amount_nanos, of.remaining_nanos),
            ref=ref,
        )
    if await connection.scalar(select(exists().where(lot.source_ref == ref))):
        raise CannotUndo("This entry was already undone.")
    left = of.expires_at - await database_now(connection) if of.expires_at else None
    if left is not None and left <= timedelta(0):
        raise CannotUndo("Its grant has expired: make a new grant instead.")
    return GrantOrder(
        organization_id=order.organization_id,
        amount_nanos=-undone.amount_nanos,
        source_ref=ref,
        kind=of.kind,
        expires_days=math.ceil(left / timedelta(days=1)) if left else None,
    )
