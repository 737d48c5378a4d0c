"""Keys that are about to expire: 30, 10 and 1 days before, each once."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.alerts import expiring
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import alert_walks, api_keys, notices
from testing.gateways import SECRET, Ledger
from tests.control_plane.alerts.conftest import rows

pytestmark = pytest.mark.sqlite

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


async def key(ledger: Ledger, *, lives_days: int) -> str:
    """Make a key that was made now and ends in so many days."""
    keys = ApiKeys(ledger.database, secret=Keyring(SECRET))
    made = await keys.create(
        ledger.organization_id, "ci", expires_at=NOW + lives_days * DAY + timedelta(hours=1)
    )
    async with ledger.database.write() as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.id == made.key.id).values(created_at=NOW)
        )
    return made.key.id


async def told(database: Database, *, days_later: float) -> list[int]:
    """Warn at a time, and return the days of all notices so far."""
    async with database.write() as connection:
        await connection.execute(update(alert_walks).values(due_at=NOW - DAY))
    await expiring.warn(database, at=NOW + days_later * DAY)
    found = await rows(database, select(notices.c.data).order_by(notices.c.id))
    return [msgspec.json.decode(row.data)["days"] for row in found]


async def test_each_step_is_told_once(ledger: Ledger):
    await key(ledger, lives_days=90)
    assert await told(ledger.database, days_later=59) == []
    assert await told(ledger.database, days_later=60.5) == [30]
    assert await told(ledger.database, days_later=61) == [30]
    assert await told(ledger.database, days_later=80.5) == [30, 10]
    assert await told(ledger.database, days_later=89.5) == [30, 10, 1]
    assert await told(ledger.database, days_later=89.9) == [30, 10, 1]
    assert await told(ledger.database, days_later=91) == [30, 10, 1]


@pytest.mark.postgresql
async def test_of_steps_missed_only_the_last_is_told(ledger: Ledger):
    await key(ledger, lives_days=90)
    assert await told(ledger.database, days_later=85) == [6]


async def test_a_key_made_for_a_week_has_one_step(ledger: Ledger):
    await key(ledger, lives_days=7)
    assert await told(ledger.database, days_later=0) == []
    assert await told(ledger.database, days_later=6.5) == [1]


async def test_a_revoked_key_is_silent(ledger: Ledger):
    made = await key(ledger, lives_days=20)
    await ApiKeys(ledger.database, secret=Keyring(SECRET)).revoke(made)
    assert await told(ledger.database, days_later=19.5) == []


@pytest.mark.postgresql
async def test_more_keys_than_a_batch(ledger: Ledger, monkeypatch):
    monkeypatch.setattr(expiring, "BATCH", 2)
    for _ in range(5):
        await key(ledger, lives_days=20)
    assert await told(ledger.database, days_later=19.5) == [1] * 5
