"""A balance worked out again from the ledger, for whoever doubts it."""

from __future__ import annotations

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import credit
from gateway.storage.tables import leases, ledger_entries, total


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What the books say twice over; `agrees` when both ways give the same."""

    agrees: bool
    balance_nanos: int
    """What the account says is left, less what is owed."""
    recomputed_nanos: int
    """The ledger's entries, less the usage that it has yet to take in."""
    entries: dict[str, int]
    """Their sums by kind."""
    unposted_nanos: int
    """Usage charged to leases that are still open."""


async def verify(connection: AsyncConnection, organization_id: str) -> Verification:
    """Recompute an organization's balance. The connection's transaction must see one moment."""
    sums = await connection.execute(
        select(ledger_entries.c.kind, total(ledger_entries.c.amount_nanos))
        .where(ledger_entries.c.organization_id == organization_id)
        .group_by(ledger_entries.c.kind)
    )
    entries = {row[0]: row[1] for row in sums}
    unposted = (
        await connection.execute(
            select(total(leases.c.spent_nanos - leases.c.posted_nanos)).where(
                leases.c.account_id == organization_id, leases.c.state == "open"
            )
        )
    ).scalar_one()
    recomputed = sum(entries.values()) - unposted
    account = await credit.balance(connection, organization_id)
    balance = account.available_nanos - account.owed_nanos
    return Verification(
        agrees=balance == recomputed,
        balance_nanos=balance,
        recomputed_nanos=recomputed,
        entries=entries,
        unposted_nanos=unposted,
    )
