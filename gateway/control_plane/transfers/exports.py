"""Writes the file of an organization that was closed, as it was before its credit left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    not_,
    select,
    text,
)

from gateway.control_plane.transfers.closing import ClosedOrganization, must_be_empty
from gateway.control_plane.transfers.organization_file import (
    FileFooter,
    FileHeader,
    OrganizationFile,
)
from gateway.control_plane.transfers.parts import KEY_PEOPLE, PARTS
from gateway.keyring import Keyring
from gateway.storage.database import Database, see_one_moment
from gateway.storage.tables import (
    accounts,
    api_keys,
    credit_lots,
    key_budgets,
    ledger_entries,
    memberships,
    organizations,
    total,
    usage_hours,
    users,
    webhook_endpoints,
    webhook_subscriptions,
)

_ROWS_AT_ONCE = 1_000
_EXPORTED = and_(
    ledger_entries.c.kind == "takeback", func.substr(ledger_entries.c.ref, 37) == ":exported"
)
"""The entries by which lots left: see `closing.ref`."""


async def write(
    database: Database,
    organization_id: str,
    closing: ClosedOrganization,
    path: Path,
    *,
    secret: Keyring,
) -> FileFooter:
    """Write the file of a closed organization, at one moment; the database is only read.

    Its rows stream: memory does not grow with them. Raises OSError, and NotClosable if it was
    credited since it was closed.
    """
    async with database.read() as connection:
        await see_one_moment(connection)
        left = select(accounts.c.available_nanos).where(accounts.c.id == organization_id)
        must_be_empty((await connection.execute(left)).scalar_one())
        name = await connection.scalar(
            select(organizations.c.name).where(organizations.c.id == organization_id)
        )
        header = FileHeader(
            transfer=closing.transfer,
            organization_id=organization_id,
            name=str(name),
            closed_at=closing.at.astimezone(UTC).isoformat(timespec="seconds"),
            schema=str(await connection.scalar(text("SELECT version_num FROM alembic_version"))),
        )
        file = OrganizationFile(path, header, secret)
        try:
            for table, query in _queries(organization_id):
                async with connection.stream(
                    query, execution_options={"yield_per": _ROWS_AT_ONCE}
                ) as found:
                    async for row in found.mappings():
                        file.write(table, _as_before(table, row, closing))
            return file.finish()
        except BaseException:
            file.drop()
            raise


def _as_before(
    table: Table, row: Mapping[str, Any], closing: ClosedOrganization
) -> Mapping[str, Any]:
    """Return a row as it was before the credit left."""
    if table is accounts and row["key_id"] is None:
        return {**row, "available_nanos": row["available_nanos"] + closing.balance_nanos}
    if table is credit_lots and row["left_nanos"]:
        left = row["left_nanos"]
        return {
            **row,
            "remaining_nanos": row["remaining_nanos"] + left,
            "burned_nanos": row["burned_nanos"] - left,
        }
    return row


def _queries(organization_id: str) -> Iterator[tuple[Table, Select[Any]]]:
    """Yield what to read of each table, in the order of the file."""
    members = select(memberships.c.user_id).where(memberships.c.organization_id == organization_id)
    endpoints = select(webhook_endpoints.c.id).where(
        webhook_endpoints.c.organization_id == organization_id,
        webhook_endpoints.c.removed_at.is_(None),
    )
    keys = select(api_keys.c.id).where(api_keys.c.organization_id == organization_id)
    conditions = {
        organizations: organizations.c.id == organization_id,
        users: users.c.id.in_(members),
        key_budgets: key_budgets.c.key_id.in_(keys),
        ledger_entries: and_(ledger_entries.c.organization_id == organization_id, not_(_EXPORTED)),
        webhook_endpoints: webhook_endpoints.c.id.in_(endpoints),
        webhook_subscriptions: webhook_subscriptions.c.endpoint_id.in_(endpoints),
    }
    for table, names in PARTS.items():
        columns: list[ColumnElement[Any]] = [table.c[name] for name in names]
        if table is credit_lots:
            yield table, _lots(organization_id)
        elif table is usage_hours:
            yield table, _hours(organization_id)
        elif table is api_keys:
            for name in KEY_PEOPLE:
                person = case((api_keys.c[name].in_(members), api_keys.c[name]))
                columns[names.index(name)] = person.label(name)
            yield table, select(*columns).where(api_keys.c.organization_id == organization_id)
        else:
            mine = conditions.get(table)
            if mine is None:
                mine = table.c.organization_id == organization_id
            yield table, select(*columns).where(mine).order_by(*_order(table))


def _order(table: Table) -> list[Any]:
    return [ledger_entries.c.id] if table is ledger_entries else list(table.primary_key)


def _lots(organization_id: str) -> Select[Any]:
    """Select lots and what left of each."""
    entry = ledger_entries.c
    left = func.coalesce(-entry.amount_nanos, 0).label("left_nanos")
    of_lot = and_(_EXPORTED, func.substr(entry.ref, 1, 36) == cast(credit_lots.c.id, Text))
    return (
        select(*(credit_lots.c[name] for name in PARTS[credit_lots]), left)
        .join(ledger_entries, of_lot, isouter=True)
        .where(credit_lots.c.organization_id == organization_id)
        .order_by(credit_lots.c.id)
    )


def _hours(organization_id: str) -> Select[Any]:
    """Select hours of usage, of all shards together."""
    slot = usage_hours.c
    key = [slot.organization_id, slot.hour, slot.key_id, slot.model_id]
    sums = [
        total(slot[name]).label(name) for name in ("requests", "inputs", "tokens", "charged_nanos")
    ]
    return (
        select(*key, *sums)
        .where(slot.organization_id == organization_id)
        .group_by(*key)
        .order_by(*key)
    )
