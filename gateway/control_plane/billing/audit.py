"""Audits of the books: the job that checks every invariant, and a customer's own recomputation.

The job exports the breaches as a metric. `verify` recomputes one balance from the ledger.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import credit
from gateway.observability import metrics
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from gateway.storage.tables import leases, ledger_entries, total

log = structlog.get_logger()

_LOOK_BACK = timedelta(days=1)


async def audit(database: Database) -> None:
    """Check every invariant: requests of the last day, sums in full. Logs breaches as errors."""
    async with database.read() as connection:
        breaches = await invariants.audit(connection, datetime.now(UTC) - _LOOK_BACK)
    broken = {breach.invariant.name: breach.culprits for breach in breaches}
    for invariant in invariants.INVARIANTS:
        metrics.set_breaches(invariant.name, len(broken.get(invariant.name, ())))
    for name, culprits in broken.items():
        log.error("an invariant of the ledger is broken", invariant=name, culprits=culprits)


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A balance computed in two ways; `agrees` if both give the same."""

    agrees: bool
    balance_nanos: int
    """The account's available credit minus what is owed."""
    recomputed_nanos: int
    """The sum of the ledger's entries minus unposted usage."""
    entries: dict[str, int]
    """Sums of the ledger's entries, by kind, in nano-dollars."""
    unposted_nanos: int
    """Usage of open leases that is not in the ledger yet."""


async def verify(connection: AsyncConnection, organization_id: str) -> Verification:
    """Recompute a balance; the connection's transaction must have a consistent view."""
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
