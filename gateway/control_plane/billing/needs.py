"""What needs an operator about money: who owes or is frozen, what expires, free credit."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Severity, Source, Step, tells
from gateway.dates import day_text
from gateway.money import money
from gateway.storage.ledger import partitions
from gateway.storage.ledger.freezes import REFUSED
from gateway.storage.tables import (
    accounts,
    credit_lots,
    freezes,
    organizations,
    promotion_days,
)

_EXPIRES_WITHIN = timedelta(days=7)
_WORTH_NANOS = 10 * 10**9
"""Credit below this is not told to expire: the welcome credit of all who tried it would be."""
_NEARLY_PERCENT = 80
"""From which share of the day's free credit on it is told."""


@tells("An organization owes money; it is frozen until that is paid.")
async def owing(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """Tell of organizations that owe: nothing of theirs works until that is paid."""
    found = await connection.execute(
        select(accounts.c.id, organizations.c.name, accounts.c.owed_nanos)
        .join(organizations, organizations.c.id == accounts.c.id)
        .where(accounts.c.owed_nanos > literal_column("0"))  # in the words of its index
        .order_by(accounts.c.id)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"owing:{row.id}",
            severity="warning",
            subject=row.name,
            words=f"owes {money(row.owed_nanos)} and is frozen until that is paid",
            steps=(_open(row.id),),
        )
        for row in found
    ]


@tells("An audit or an operator froze an organization, or the ledger refused its usage.")
async def frozen(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """Tell of organizations that are frozen; disputes tell of themselves."""
    found = await connection.execute(
        select(freezes, organizations.c.name)
        .join(organizations, organizations.c.id == freezes.c.account_id)
        .where(freezes.c.cause.in_(_FROZEN))
        .order_by(freezes.c.created_at)
        .limit(NEEDS_MAX)
    )
    needs = []
    for row in found:
        severity, by = _REFUSED if row.ref == REFUSED else _FROZEN[row.cause]
        needs.append(
            Need(
                key=f"frozen:{row.account_id}:{row.cause}:{row.ref}",
                severity=severity,
                subject=row.name,
                words=f"is frozen {by}{f': {row.reason}' if row.reason else ''}",
                since=row.created_at,
                steps=(_open(row.account_id),),
            )
        )
    return needs


@tells(
    f"{money(_WORTH_NANOS)} or more are left of a lot that expires in {_EXPIRES_WITHIN.days} days."
)
async def expiring(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell of credit that will soon be lost to an organization."""
    lot = credit_lots.c
    found = await connection.execute(
        select(
            lot.id, lot.organization_id, lot.remaining_nanos, lot.expires_at, organizations.c.name
        )
        .join(organizations, organizations.c.id == lot.organization_id)
        .where(
            lot.expires_at > now,
            lot.expires_at < now + _EXPIRES_WITHIN,
            lot.remaining_nanos >= _WORTH_NANOS,
        )
        .order_by(lot.expires_at, lot.id)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"expiring:{row.id}",
            severity="notice",
            subject=row.name,
            words=f"{money(row.remaining_nanos)} of its credit expires on "
            f"{day_text(row.expires_at)}",
            steps=(
                Step("Open lots", f"/admin/organizations/{row.organization_id}/lots"),
                Step("Grant credit", f"/admin/organizations/{row.organization_id}/grant"),
            ),
        )
        for row in found
    ]


@tells("Usage or receipts are in no day's partition: a gateway's clock was wrong.")
async def strays(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """Tell of rows whose ids are of days far ahead. They are charged, and stay until that day."""
    return [
        Need(
            key=f"strays:{table}",
            severity="warning",
            subject="The ledger",
            words=f"{rows} {'row' if rows == 1 else 'rows'} of {table} are dated far ahead: set "
            "the clocks of the gateways",
            steps=(Step("Open books", "/admin/books"),),
        )
        for table, rows in (await partitions.strays(connection)).items()
        if rows
    ]


def promotion_budget(day_nanos: int) -> Source:
    """Return what tells that the day's free credit is nearly used up."""

    @tells(f"{_NEARLY_PERCENT} % of the day's free credit, {money(day_nanos)}, is given away.")
    async def source(connection: AsyncConnection, now: datetime) -> list[Need]:
        day = f"{now:%Y-%m-%d}"
        query = select(promotion_days.c.granted_nanos).where(promotion_days.c.day == day)
        granted = await connection.scalar(query) or 0
        if not day_nanos or granted * 100 < day_nanos * _NEARLY_PERCENT:
            return []
        return [
            Need(
                key=f"promotion:{day}",
                severity="notice",
                subject="Free credit",
                words=f"{money(granted)} of today's {money(day_nanos)} is given away",
                steps=(Step("Open books", "/admin/books"),),
            )
        ]

    return source


def _open(organization_id: str) -> Step:
    return Step("Open organization", f"/admin/organizations/{organization_id}")


_FROZEN: dict[str, tuple[Severity, str]] = {
    "books": ("critical", "because its balance does not add up"),
    "operator": ("notice", "by an operator"),
}
_REFUSED: tuple[Severity, str] = ("critical", "because the ledger refuses its usage")
