"""Audits of the books: the job that checks every invariant, and a customer's own recomputation.

The job exports the breaches as a metric, and freezes the organizations whose balance is wrong until
an audit finds it right. `verify` recomputes one balance from the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import audit_runs, credit
from gateway.control_plane.trail import audits
from gateway.observability import metrics
from gateway.storage.database import Database
from gateway.storage.ledger import freezes, invariants
from gateway.storage.tables import accounts, leases, ledger_entries, total

log = structlog.get_logger()

_LOOK_BACK = timedelta(days=1)
_FREEZING = ("balance-equals-ledger", "lots-equal-balance", "never-negative")
"""The invariants of one balance: whose is broken may neither spend nor be charged."""
_AUDIT = "audit"


async def audit(database: Database, interval_seconds: float = 300.0) -> None:
    """Check every invariant: requests of the last day, sums in full. Logs breaches as errors.

    Freezes the organizations whose balance is wrong, and lifts that where it no longer is.
    """
    began_at = datetime.now(UTC)
    async with database.read() as connection:
        breaches = await invariants.audit(connection, began_at - _LOOK_BACK)
        standing = await audit_runs.standing(connection)
    broken = {breach.invariant.name: breach.culprits for breach in breaches}
    for invariant in invariants.INVARIANTS:
        metrics.set_breaches(invariant.name, len(broken.get(invariant.name, ())))
    for name, culprits in broken.items():
        log.error("an invariant of the ledger is broken", invariant=name, culprits=culprits)
    async with database.write() as connection:
        await _freeze(connection, {name: broken.get(name, []) for name in _FREEZING})
        balances = msgspec.json.encode(standing).decode()
        await audits.note(
            connection, "ledger", began_at, broken, interval_seconds, balances=balances
        )


async def _freeze(connection: AsyncConnection, broken: Mapping[str, Sequence[str]]) -> None:
    named = {culprit for culprits in broken.values() for culprit in culprits}
    query = select(accounts.c.id).where(accounts.c.id.in_(named), accounts.c.key_id.is_(None))
    wrong = set((await connection.scalars(query)).all())  # without the budgets of keys
    frozen = await freezes.frozen_by(connection, "books", ref=_AUDIT)
    for organization_id in sorted(wrong - frozen):
        why = ", ".join(name for name, culprits in broken.items() if organization_id in culprits)
        await freezes.freeze(connection, organization_id, "books", ref=_AUDIT, reason=why)
        log.error("an organization is frozen", organization=organization_id, broken=why)
    if any(len(culprits) >= invariants.SHOWN_MAX for culprits in broken.values()):
        return  # there may be more than are named
    for organization_id in sorted(frozen - wrong):
        await freezes.lift(connection, organization_id, "books", ref=_AUDIT)
        log.warning("an organization's balance is right again", organization=organization_id)


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
