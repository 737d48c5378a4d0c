"""Audits of the books that ran, and how every account stood then.

Adding up all entries takes seconds once there are millions, so pages show what the last audit saw,
in the transaction in which it checked it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail import audits
from gateway.storage.ledger import books
from gateway.storage.ledger.seals import Reach
from gateway.storage.tables import accounts, credit_lots, total


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


class BooksAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One audit of the books: when, what it found broken, and how they stood."""

    id: str
    began_at: datetime
    ended_at: datetime
    breaches: dict[str, list[str]]
    balances: BooksStanding

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.began_at).total_seconds()


async def standing(connection: AsyncConnection, sealed: Reach | None) -> BooksStanding:
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
        platform=await books.balances(connection, sealed),
    )


async def recent(
    connection: AsyncConnection, *, before: str | None = None, limit: int
) -> list[BooksAudit]:
    """Return the newest audits of the books, before one of them."""
    return [
        BooksAudit(
            id=run.id,
            began_at=run.began_at,
            ended_at=run.ended_at,
            breaches=run.breaches,
            balances=msgspec.json.decode(run.balances or "", type=BooksStanding),
        )
        for run in await audits.recent(connection, "ledger", before=before, limit=limit)
    ]
