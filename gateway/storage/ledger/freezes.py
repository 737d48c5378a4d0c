"""Freezes: a frozen account leases no credit, until the cause of the freeze lifts it.

Debt is not a row here: it follows from `accounts.owed_nanos`, so the two can't disagree. A dispute,
an operator and an audit each freeze and unfreeze independently; if a process froze an organization
because the ledger refused its ticks, an operator unfreezes it. Credit that processes hold of a
frozen account is returned at their next heartbeat.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

import msgspec
import structlog
from sqlalchemy import ColumnElement, Row, delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.messages import LedgerRefused, LedgerUnavailable
from gateway.data_plane.metering.port import FreezeCause
from gateway.storage.database import Database, insert_into, refuses
from gateway.storage.ledger import postings
from gateway.storage.tables import accounts, freezes


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """A freeze of an account, and what its cause says."""

    cause: StoredCause
    ref: str
    reason: str
    created_at: datetime


log = structlog.get_logger()

StoredCause = Literal["books", "operator", "dispute"]
REFUSED = "ledger"
"""The `ref` of a freeze because the ledger refused an organization's usage. Operators lift it."""
_REASON_MAX = 500
_SHOWN_FIRST: tuple[FreezeCause, ...] = get_args(FreezeCause)


async def freeze(
    connection: AsyncConnection,
    account_id: str,
    cause: StoredCause,
    *,
    ref: str = "",
    reason: str = "",
) -> bool:
    """Freeze an account for a cause; return whether that cause did not freeze it before."""
    now = await postings.database_now(connection)
    account = await postings.lock_account(connection, account_id)
    assert account is not None
    added = await connection.scalar(
        insert_into(connection, freezes)
        .values(account_id=account_id, cause=cause, ref=ref, reason=reason, created_at=now)
        .on_conflict_do_nothing()
        .returning(freezes.c.account_id)
    )
    if added is None:
        return False
    await postings.recall(connection, account_id, now)
    return True


async def freeze_refused(database: Database, organization_id: str, reason: str) -> bool:
    """Freeze an organization whose usage can't be posted; see `Ledger.freeze`."""
    reason = reason[:_REASON_MAX]
    try:
        async with database.write() as connection:
            added = await freeze(connection, organization_id, "books", ref=REFUSED, reason=reason)
    except (AssertionError, SQLAlchemyError, OSError) as error:
        raise ledger_error(error) from error
    if added:
        log.error("an organization is frozen", organization=organization_id, reason=reason)
    return added


def ledger_error(error: Exception) -> LedgerRefused | LedgerUnavailable:
    """Return what the data plane is told about an error of the database or one of our rules."""
    kind = LedgerRefused if refuses(error) else LedgerUnavailable
    return kind(f"{type(error).__name__}: {error}")


async def lift(
    connection: AsyncConnection, account_id: str, cause: StoredCause, *, ref: str = ""
) -> bool:
    """Lift the freeze of one cause; return whether there was one. Others stay."""
    await postings.lock_account(connection, account_id)
    lifted = await connection.scalar(
        delete(freezes)
        .where(freezes.c.account_id == account_id, freezes.c.cause == cause, freezes.c.ref == ref)
        .returning(freezes.c.account_id)
    )
    return lifted is not None


async def causes(connection: AsyncConnection, account_id: str) -> list[FreezeCause]:
    """Return why an account is frozen, with the cause to report first; empty if it is not."""
    owed = await connection.scalar(select(accounts.c.owed_nanos).where(accounts.c.id == account_id))
    return await _causes(connection, account_id, owed or 0)


async def of_account(connection: AsyncConnection, account_id: str) -> list[Freeze]:
    """Return the freezes of an account, the oldest first. Debt is not one of them."""
    found = await connection.execute(
        select(*(freezes.c[name] for name in Freeze.__struct_fields__))
        .where(freezes.c.account_id == account_id)
        .order_by(freezes.c.created_at)
    )
    return [Freeze(**row) for row in found.mappings()]


async def frozen_by(connection: AsyncConnection, cause: StoredCause, *, ref: str) -> set[str]:
    """Return the accounts that a cause has frozen."""
    query = select(freezes.c.account_id).where(freezes.c.cause == cause, freezes.c.ref == ref)
    return set((await connection.scalars(query)).all())


async def told(connection: AsyncConnection, account: Row[Any] | None) -> FreezeCause | None:
    """Return the cause to report for an account's row; None if it is not frozen."""
    if account is None:
        return None
    found = await _causes(connection, account.id, account.owed_nanos)
    return found[0] if found else None


def named(cause: StoredCause) -> ColumnElement[bool]:
    """Return, for a query over `accounts`, whether a cause froze the account."""
    rows = select(freezes.c.cause).where(
        freezes.c.account_id == accounts.c.id, freezes.c.cause == cause
    )
    return rows.correlate(accounts).exists()


async def _causes(
    connection: AsyncConnection, account_id: str, owed_nanos: int
) -> list[FreezeCause]:
    stored = select(freezes.c.cause).where(freezes.c.account_id == account_id).distinct()
    found: set[FreezeCause] = set((await connection.scalars(stored)).all())
    if owed_nanos:
        found.add("owing")
    return sorted(found, key=_SHOWN_FIRST.index)
