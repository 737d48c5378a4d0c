"""Audits are kept with what every account had, and all of it sums to zero."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from gateway.control_plane.billing import audit_runs
from gateway.control_plane.billing.audit import audit
from gateway.control_plane.trail import audits
from gateway.storage.tables import accounts
from gateway.storage.tables import audit_runs as runs_table
from testing.gateways import Ledger


async def test_an_audit_is_kept_with_the_balances(ledger: Ledger):
    await ledger.grant(5_000)
    await audit(ledger.database)
    async with ledger.database.write() as connection:
        await connection.execute(update(accounts).values(available_nanos=4_000))
    await audit(ledger.database)
    async with ledger.database.read() as connection:
        newest, first = await audit_runs.recent(connection, limit=5)
        (again,) = await audit_runs.recent(connection, before=newest.id, limit=5)
    assert again == first
    assert (first.breaches, first.balances.sum_nanos) == ({}, 0)
    assert first.balances.organizations_nanos == 5_000
    assert sum(first.balances.platform.values()) == -5_000
    assert "all-sums-to-nothing" in newest.breaches
    assert newest.balances.sum_nanos == -1_000
    assert newest.seconds >= 0


async def test_old_audits_are_removed(sqlite_ledger: Ledger):
    await audit(sqlite_ledger.database)
    old = datetime.now(UTC) - audits.KEPT - timedelta(days=1)
    async with sqlite_ledger.database.write() as connection:
        await connection.execute(update(runs_table).values(began_at=old))
    await audit(sqlite_ledger.database)
    async with sqlite_ledger.database.read() as connection:
        (left,) = await audit_runs.recent(connection, limit=5)
    assert left.began_at > old
