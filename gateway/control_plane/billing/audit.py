"""Audits of the books: the job that checks every invariant, and a customer's own recomputation.

One process of a deployment runs the job, all export what it found as a metric. It freezes the
organizations whose balance is wrong until an audit finds it right. `verify` recomputes one balance
from the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import structlog
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import audit_runs, credit
from gateway.control_plane.trail import audits
from gateway.storage.database import Database
from gateway.storage.ledger import freezes, invariants, postings, seals
from gateway.storage.tables import accounts, leases, ledger_entries, total

log = structlog.get_logger()

AUDIT_SECONDS = 1_800.0
"""How long an audit may take. The first one reads everything."""
_FREEZING = ("balance-equals-ledger", "lots-equal-balance", "never-negative")
"""The invariants of one balance: whose is broken may neither spend nor be charged."""
_LEASES = ("closed-leases-are-posted", "lease-equals-usage", "postings-equal-ledger")
_AUDIT = "audit"
_LOCK = 0x57E11E  # any number, the same in every process; `ledger_retire` takes it too


_TRY_LOCK = text(f"SELECT pg_try_advisory_lock({_LOCK})")
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
_NAMES = tuple(invariant.name for invariant in invariants.INVARIANTS)
_OF_ROWS = {invariant.name for invariant in invariants.INVARIANTS if invariant.of_rows}


async def audit_in_turn(database: Database, interval_seconds: float) -> None:
    """Audit the books when it is their turn; the job's function. See `audits.in_turn`."""
    run = partial(audit, database, interval_seconds)
    await audits.in_turn(database, "ledger", _NAMES, interval_seconds, run)


async def audit(database: Database, interval_seconds: float = 300.0) -> bool:
    """Check every invariant, from the last seal on. Logs breaches as errors.

    Freezes the organizations whose balance is wrong, and lifts that where it no longer is. Returns
    whether it ran: one process audits at a time.
    """
    async with database.read() as connection:
        began_at = await postings.database_now(connection)
    examined = await _examine(database)
    if examined is None:
        return False
    broken, standing = examined
    for name, culprits in broken.items():
        log.error("an invariant of the ledger is broken", invariant=name, culprits=culprits)
    async with database.write() as connection:
        await _freeze(connection, {name: broken.get(name, []) for name in _FREEZING})
        balances = msgspec.json.encode(standing).decode()
        await audits.note(
            connection, "ledger", began_at, broken, interval_seconds, balances=balances
        )
    return True


async def _examine(
    database: Database,
) -> tuple[dict[str, list[str]], audit_runs.BooksStanding] | None:
    """Check the rules, and move the seal on; None while another process does."""
    if database.is_sqlite:
        async with database.read() as connection:
            return await _found(connection, invariants.Scope())
    patient = Database(database.url, connections_max=1, is_patient=True)
    try:
        async with patient.read() as connection:
            if not await connection.scalar(_TRY_LOCK):
                return None
            before = await seals.sealed(connection)
            upto = await seals.reach(connection, before)
            await connection.execute(_ONE_MOMENT)
            if upto is None:  # somebody writes for very long: nothing is sealed this time
                return await _found(connection, invariants.Scope(before, before))
            await seals.seal(connection, before, upto)
            broken, standing = await _found(connection, invariants.Scope(before, upto))
            if broken.keys().isdisjoint(_OF_ROWS):
                if broken.keys().isdisjoint(_LEASES):
                    await seals.forget_closed(connection, upto)
                await connection.commit()
            return broken, standing  # rows that break a rule are looked at until they are mended
    finally:
        await patient.close()  # and so ends the lock


async def _found(
    connection: AsyncConnection, scope: invariants.Scope
) -> tuple[dict[str, list[str]], audit_runs.BooksStanding]:
    breaches = await invariants.check(connection, scope)
    broken = {breach.invariant.name: breach.culprits for breach in breaches}
    return broken, await audit_runs.standing(connection, scope.sums)


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
