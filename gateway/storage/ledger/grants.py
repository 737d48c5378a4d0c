"""Credit coming in, and what is left of it going when its time is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import new_id
from gateway.storage.tables import accounts, credit_lots, ledger_entries

Kind = Literal["promo", "paid"]

_EXPIRE_AT_ONCE = 500


async def open_account(connection: AsyncConnection, organization_id: str) -> None:
    """Give a new organization its account, with nothing in it."""
    await connection.execute(
        insert(accounts).values(
            organization_id=organization_id, available_nanos=0, reserved_nanos=0
        )
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
    """Add a lot of credit, once for each `source_ref`; return whether it was added now."""
    now = datetime.now(UTC)
    lot_id = new_id()
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    added = await connection.scalar(
        dialect.insert(credit_lots)
        .values(
            id=lot_id,
            organization_id=organization_id,
            kind=kind,
            amount_nanos=amount_nanos,
            remaining_nanos=amount_nanos,
            source_ref=source_ref,
            created_at=now,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing(index_elements=["source_ref"])
        .returning(credit_lots.c.id)
    )
    if added is None:
        return False
    await connection.execute(
        update(accounts)
        .where(accounts.c.organization_id == organization_id)
        .values(available_nanos=accounts.c.available_nanos + amount_nanos)
    )
    await _enter(connection, organization_id, "grant", lot_id, amount_nanos)
    return True


async def expire(connection: AsyncConnection, now: datetime) -> int:
    """Take back what is left of the lots whose time is over; return how many there were.

    A lot whose rest is reserved by requests at work waits for the next run.
    """
    overdue = await connection.execute(
        select(credit_lots.c.id, credit_lots.c.organization_id)
        .where(credit_lots.c.expires_at < now, credit_lots.c.remaining_nanos > 0)
        .limit(_EXPIRE_AT_ONCE)
    )
    return sum([await _expire(connection, *lot) for lot in overdue.all()])


async def _expire(connection: AsyncConnection, lot_id: str, organization_id: str) -> bool:
    available = await connection.scalar(
        select(accounts.c.available_nanos)
        .where(accounts.c.organization_id == organization_id)
        .with_for_update()
    )
    left = await connection.scalar(
        select(credit_lots.c.remaining_nanos).where(credit_lots.c.id == lot_id)
    )
    if not left or available is None or available < left:
        return False
    await connection.execute(
        update(accounts)
        .where(accounts.c.organization_id == organization_id)
        .values(available_nanos=accounts.c.available_nanos - left)
    )
    await connection.execute(
        update(credit_lots).where(credit_lots.c.id == lot_id).values(remaining_nanos=0)
    )
    await _enter(connection, organization_id, "expiry", lot_id, -left)
    return True


async def _enter(
    connection: AsyncConnection, organization_id: str, kind: str, ref: str, amount_nanos: int
) -> None:
    await connection.execute(
        insert(ledger_entries).values(
            organization_id=organization_id,
            kind=kind,
            ref=ref,
            amount_nanos=amount_nanos,
            created_at=datetime.now(UTC),
        )
    )
