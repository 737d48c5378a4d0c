"""Usage rows go with their time; the sums of their hours stay."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select, update

from gateway.storage.ledger import upkeep
from gateway.storage.tables import leases, usage_hours
from testing.gateways import Ledger
from testing.ledger import running


async def test_old_usage_goes_and_its_sums_stay(ledger: Ledger, tmp_path: Path):
    assert await upkeep.maintain(ledger.database, retention_days=32) == []
    assert await upkeep.maintain(ledger.database, retention_days=32) == []  # twice is fine
    await ledger.grant(100)
    async with running(ledger.database, tmp_path) as credit:
        charge = ledger.charge(8)
        await credit.reserve(charge)
        await credit.settle(charge)
    assert len(await ledger.usage()) == 1
    if ledger.database.is_sqlite:
        return  # its trigger keeps the rows of the last 31 days, whatever the clock says
    later = datetime.now(UTC) + timedelta(days=34)
    dropped = await upkeep.maintain(ledger.database, retention_days=32, now=later)
    assert f"usage_events_{datetime.now(UTC):%Y%m%d}" in dropped
    assert await ledger.usage() == []
    async with ledger.database.read() as connection:
        assert await connection.scalar(select(func.sum(usage_hours.c.charged_nanos))) == 8


async def test_old_leases_go_when_they_are_closed_and_not_before(ledger: Ledger, tmp_path: Path):
    await ledger.grant(100)
    async with running(ledger.database, tmp_path) as credit:
        held = ledger.charge(8)
        await credit.reserve(held)
        async with running(ledger.database, tmp_path / "other") as other:
            charge = ledger.charge(8)
            await other.reserve(charge)
            await other.release(charge)
        async with ledger.database.write() as connection:
            long_ago = datetime.now(UTC) - timedelta(days=40)
            await connection.execute(update(leases).values(opened_at=long_ago))
        await upkeep.maintain(ledger.database, retention_days=32)
        async with ledger.database.read() as connection:
            assert list(await connection.scalars(select(leases.c.state))) == ["open"]
        assert await ledger.breaches() == []
        await credit.release(held)
