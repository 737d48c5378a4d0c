"""An organization begins here as it ended elsewhere: from its file, in one transaction.

What its rows become here, `arrival` says. The requests behind its usage and the payments behind its
lots stayed where they were, so the audit takes the file's word for both: in the opening sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Table, and_, cast, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import record
from gateway.control_plane.transfers import organization_file
from gateway.control_plane.transfers.arrival import Arrival, TakenHere
from gateway.control_plane.transfers.organization_file import (
    FileFooter,
    FileHeader,
    FileSums,
    UnreadableFile,
)
from gateway.storage.ledger import postings, sums
from gateway.storage.tables import (
    accounts,
    credit_lots,
    ledger_entries,
    organizations,
    total,
    trail_entries,
    usage_days,
    usage_hours,
)

IMPORTED = "organization.imported"
_ROWS_AT_ONCE = 500


async def bring_in(
    connection: AsyncConnection,
    operator: Operator,
    path: Path,
    header: FileHeader,
    footer: FileFooter,
    *,
    has_keys: bool,
    joins_members: bool,
    reason: str,
) -> bool:
    """Import a checked file; return False, having changed nothing, if it was imported before.

    Without `has_keys`, keys are revoked and signing secrets of webhooks unreadable: both were made
    under another GATEWAY_SECRET. With `joins_members`, users who are here by the same address
    become the members. Raises TakenHere, MemberIsAnother and UnreadableFile.
    """
    if await _was_imported(connection, header):
        return False
    taken = select(organizations.c.id).where(organizations.c.id == header.organization_id)
    if await connection.scalar(taken):
        raise TakenHere(f"Organization {header.organization_id} is here, and not from this file.")
    arrival = Arrival(
        connection,
        header.organization_id,
        await postings.database_now(connection),
        has_keys=has_keys,
        joins_members=joins_members,
    )
    for table, batch in _batches(path):
        await arrival.insert(table, batch)
    await _open_sums(connection, header.organization_id, footer.sums)
    if await _arrived(connection, header.organization_id) != footer.sums:
        raise UnreadableFile("What was written is not what the file says; nothing was kept.")
    await record(
        connection,
        operator.actor,
        IMPORTED,
        f"organization:{header.organization_id}",
        organization_id=header.organization_id,
        after={"transfer": header.transfer, "nanos": footer.sums.balance_nanos},
        reason=reason,
    )
    return True


def _batches(path: Path) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Yield the rows of a file by table, some at once."""
    batch: list[dict[str, Any]] = []
    current: Table | None = None
    for table, row in organization_file.rows(path):
        if batch and current is not None and (table is not current or len(batch) == _ROWS_AT_ONCE):
            yield current, batch
            batch = []
        current = table
        batch.append(row)
    if current is not None:
        yield current, batch


async def _was_imported(connection: AsyncConnection, header: FileHeader) -> bool:
    entry = trail_entries.c
    found = await connection.scalars(
        select(entry.after).where(
            entry.action == IMPORTED, entry.subject == f"organization:{header.organization_id}"
        )
    )
    return any(msgspec.json.decode(said)["transfer"] == header.transfer for said in found)


async def _open_sums(connection: AsyncConnection, organization_id: str, said: FileSums) -> None:
    """Take the file's word for usage whose requests, and lots whose payments, stayed behind."""
    if charged := int(said.charged_nanos):
        await sums.open_with(connection, "imported", organization_id, charged)
    lot, entry = credit_lots.c, ledger_entries.c
    granted = and_(entry.kind == "grant", entry.ref == cast(lot.id, Text))
    bought = await connection.execute(
        select(lot.id, lot.amount_nanos)
        .join(ledger_entries, granted, isouter=True)
        .where(lot.organization_id == organization_id, entry.id.is_(None))
    )
    for row in bought.all():
        await sums.open_with(connection, "lot", row.id, row.amount_nanos)


async def _arrived(connection: AsyncConnection, organization_id: str) -> FileSums | None:
    """Return what the rows of an organization here add up to; None where they disagree."""
    lot, entry, slot, day = credit_lots.c, ledger_entries.c, usage_hours.c, usage_days.c
    balances = [
        await connection.scalar(select(total(column)).where(own == organization_id))
        for column, own in (
            (lot.remaining_nanos, lot.organization_id),
            (entry.amount_nanos, entry.organization_id),
        )
    ]
    account = (
        await connection.execute(
            select(accounts.c.available_nanos, accounts.c.spent_nanos).where(
                accounts.c.id == organization_id
            )
        )
    ).one_or_none()
    used = select(-total(entry.amount_nanos)).where(
        entry.organization_id == organization_id, entry.kind == "usage"
    )
    names = ("charged_nanos", "requests", "inputs", "tokens")
    hours = (
        await connection.execute(
            select(*(total(slot[name]).label(name) for name in names)).where(
                slot.organization_id == organization_id
            )
        )
    ).one()
    days = (
        await connection.execute(
            select(*(total(day[name]) for name in names)).where(
                day.organization_id == organization_id
            )
        )
    ).one()
    spent = await connection.scalar(used)
    if account is None or {account.available_nanos} != set(balances) or hours != days:
        return None
    if account.spent_nanos != spent:
        return None
    return FileSums(
        balance_nanos=str(account.available_nanos),
        spent_nanos=str(spent),
        **{name: str(value) for name, value in zip(names, hours, strict=True)},
    )
