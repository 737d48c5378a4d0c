"""Audits of the books that ran, and how every account stood then.

Adding up all entries takes seconds once there are millions, so pages show what the last audit saw,
in the transaction in which it checked it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import new_id
from gateway.storage.ledger import books
from gateway.storage.tables import accounts, audit_runs, credit_lots, total

KEPT = timedelta(days=30)
_FORGOTTEN_AT_ONCE = 10_000


class BooksStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Every account at one moment, in nano-dollars."""

    organizations_nanos: int
    """What organizations have, less what they owe."""
    owed_nanos: int
    """What they owe: a refund or a dispute took more than they had."""
    paid_nanos: int
    """Bought credit that is not used: not earned yet."""
    promo_nanos: int
    """Free credit that is not used."""
    platform: dict[str, int]
    """The platform's own accounts."""

    @property
    def sum_nanos(self) -> int:
        """All accounts together: zero, or money came from nowhere."""
        return self.organizations_nanos + sum(self.platform.values())


class AuditRun(msgspec.Struct, frozen=True, kw_only=True):
    """One audit: when, what it found broken, and how the books stood."""

    id: str
    began_at: datetime
    ended_at: datetime
    breaches: dict[str, list[str]]
    balances: BooksStanding

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.began_at).total_seconds()


async def standing(connection: AsyncConnection) -> BooksStanding:
    """Add up every account; the connection's transaction must see one moment."""
    account, lot = accounts.c, credit_lots.c
    net, owed = (
        await connection.execute(
            select(
                total(account.available_nanos + account.leased_nanos - account.owed_nanos),
                total(account.owed_nanos),
            ).where(account.key_id.is_(None))
        )
    ).one()
    lots: dict[str, int] = {
        row[0]: row[1]
        for row in await connection.execute(
            select(lot.kind, total(lot.remaining_nanos)).group_by(lot.kind)
        )
    }
    return BooksStanding(
        organizations_nanos=net,
        owed_nanos=owed,
        paid_nanos=lots.get("paid", 0),
        promo_nanos=lots.get("promo", 0),
        platform=await books.balances(connection),
    )


async def note(
    connection: AsyncConnection,
    began_at: datetime,
    breaches: Mapping[str, Sequence[str]],
    balances: BooksStanding,
) -> None:
    """Keep what an audit saw, and remove what is too old."""
    now = datetime.now(UTC)
    await connection.execute(
        insert(audit_runs).values(
            id=new_id(),
            began_at=began_at,
            ended_at=now,
            breaches=msgspec.json.encode(breaches).decode(),
            balances=msgspec.json.encode(balances).decode(),
        )
    )
    old = select(audit_runs.c.id).where(audit_runs.c.began_at < now - KEPT)
    some = old.limit(_FORGOTTEN_AT_ONCE)
    await connection.execute(delete(audit_runs).where(audit_runs.c.id.in_(some)))


async def recent(
    connection: AsyncConnection, *, before: str | None = None, limit: int
) -> list[AuditRun]:
    """Return the newest audits, before one of them."""
    query = select(audit_runs).order_by(audit_runs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_runs.c.id < before)
    return [
        AuditRun(
            **{
                **row,
                "breaches": msgspec.json.decode(row["breaches"], type=dict[str, list[str]]),
                "balances": msgspec.json.decode(row["balances"], type=BooksStanding),
            }
        )
        for row in (await connection.execute(query)).mappings()
    ]
