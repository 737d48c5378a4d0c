"""Who spent bought credit, and when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from gateway.storage.ledger import grants, reading
from gateway.storage.tables import organizations
from testing.gateways import Ledger
from testing.ledger import running


async def test_only_what_is_spent_within_the_time_counts(ledger: Ledger, tmp_path: Path):
    await ledger.grant(80, kind="paid")
    await (await Ledger.create(ledger.database)).grant(80, kind="paid")  # who spends nothing
    async with running(ledger.database, tmp_path) as credit:
        charge = ledger.charge(80)
        await credit.reserve(charge)
        await credit.settle(charge)
    now, hour = datetime.now(UTC), timedelta(hours=1)

    async def spenders(since: datetime, until: datetime) -> set[str]:
        async with ledger.database.read() as connection:
            every = select(organizations.c.id)
            return await reading.spenders(connection, every, since=since, until=until)

    assert await spenders(now - hour, now + hour) == {ledger.organization_id}
    assert await spenders(now - 2 * hour, now - hour) == set()
    assert await spenders(now + hour, now + 2 * hour) == set()


async def test_what_expired_of_bought_credit_frees_no_promo_credit(ledger: Ledger, tmp_path: Path):
    """An expiry is of its own lot, whichever others there are."""
    now, hour = datetime.now(UTC), timedelta(hours=1)
    await ledger.grant(80, kind="paid")
    await ledger.grant(48, expires_at=now + hour)
    assert await grants.expire(ledger.database, now + 2 * hour) == 1
    async with running(ledger.database, tmp_path) as credit:
        charge = ledger.charge(8)
        await credit.reserve(charge)
        await credit.settle(charge)
    async with ledger.database.read() as connection:
        every = select(organizations.c.id)
        found = await reading.spenders(connection, every, since=now - hour, until=now + hour)
    assert found == {ledger.organization_id}
