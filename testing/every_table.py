"""A row in each table, so that whatever moves a database is seen to move all of it.

Books are made by the ledger itself. What stays empty gets a row by the types of its columns; a
column with a rule of its own has its value in `_VALUES`.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Boolean, Column, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail.entries import SYSTEM, Personal, record
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import metadata
from gateway.storage.tables.types import Day, Id, Instant
from testing.filled import Books

_MOMENT = datetime(2026, 11, 3, 4, 5, 6, 789012, UTC)
_VALUES: Mapping[str, Any] = {
    "alert_levels.level": 80,
    "answer_hours.status_class": 2,
    "auto_top_ups.month_cents_max": 90_000,
    "auto_top_ups.paused": "",
    "demand_events.kind": "vote",
    "freezes.cause": "operator",
    "identities.provider": "github",
    "launch_organizations.credit": "granted",
    "mail_links.purpose": "sign_in",
    "memberships.role": "owner",
    "money_orders.state": "done",
    "operators.role": "owner",
    "outbox.state": "sent",
    "passkey_challenges.purpose": "add",
    "payment_disputes.status": "won",
    "price_changes.tier": "default",
    "snoozes.severity": "notice",
    "users.deleted_at": None,
    "webhook_deliveries.state": "sent",
    "webhook_endpoints.disabled_at": None,
    "webhook_endpoints.disabled_reason": "",
    "webhook_endpoints.removed_at": None,
    "worker_orders.wish": "drain",
}


async def fill(database: Database) -> Books:
    """Fill every table; the books stay in order, and no lease is open."""
    books = await Books.fill(database)
    await books.close()
    async with database.write() as connection:
        who = new_id()
        after = {"name": Personal("a name", who)}
        await record(connection, SYSTEM, "key.created", "key:1", after=after, reason="a reason")
        for table in metadata.sorted_tables:
            if not await connection.scalar(select(func.count()).select_from(table)):
                await connection.execute(insert(table).values(await _row(connection, table)))
    return books


async def _row(connection: AsyncConnection, table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        name = f"{table.name}.{column.name}"
        if name in _VALUES:
            row[column.name] = _VALUES[name]
        elif column.foreign_keys:
            (key,) = column.foreign_keys
            row[column.name] = await connection.scalar(select(key.column).limit(1))
        elif column.autoincrement is not True:
            row[column.name] = _value(column)
    return row


def _value(column: Column[Any]) -> Any:
    kind = column.type
    if kind is Id:
        return new_id()
    if isinstance(kind, Instant):
        return _MOMENT
    if isinstance(kind, Day):
        return date(2026, 11, 3)
    if isinstance(kind, Boolean):
        return 1
    python = kind.python_type
    return {int: 1, str: f"{column.name} \N{SNOWMAN}", bytes: b"\x00\xff" * 16}[python]
