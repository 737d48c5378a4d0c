"""A key's new secret: the one before works on for a while, and ends with the key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts import key_revocation, mac_secrets
from gateway.control_plane.accounts.key_changes import KeyChanges
from gateway.control_plane.accounts.key_revocation import KeyNotFound
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.snapshots import KeySnapshot
from gateway.storage.database import Database
from gateway.storage.keys import open_key_store
from gateway.storage.ledger.budgets import Budget
from gateway.storage.tables import api_keys
from testing.gateways import SECRET, Ledger

DAY = timedelta(days=1)


def digest(secret: str) -> bytes:
    return Keyring(SECRET).digest(secret)


async def found(database: Database, *secrets: str) -> list[KeySnapshot | None]:
    """What the data plane knows of some secrets."""
    store = open_key_store(database)
    try:
        known = await store.find([digest(secret) for secret in secrets])
    finally:
        await store.close()
    return [known.get(digest(secret)) for secret in secrets]


async def test_both_secrets_are_the_same_key_until_the_first_ends(
    database: Database, ledger: Ledger
):
    told: list[bytes] = []

    async def announce(changed: bytes) -> None:
        told.append(changed)

    keys = ApiKeys(database, secret=Keyring(SECRET), announce=announce)
    budget = Budget(limit_nanos=8, period="month")
    old = await keys.create(ledger.organization_id, "k", budget=budget)
    told.clear()
    new = await keys.rotate(old.key.id, overlap=DAY)
    assert told == [digest(old.secret)]
    assert new.key.id == old.key.id
    assert new.key.last_four == new.secret[-4:] != old.key.last_four
    before, after = await found(database, old.secret, new.secret)
    assert after == KeySnapshot(
        id=old.key.id, organization_id=ledger.organization_id, budget="month"
    )
    until = (datetime.now(UTC) + DAY).timestamp()
    assert before == KeySnapshot(
        id=old.key.id,
        organization_id=ledger.organization_id,
        budget="month",
        expires_at=pytest.approx(until, abs=60),
    )

    told.clear()
    newest = await keys.rotate(old.key.id, overlap=DAY)
    assert sorted(told) == sorted([digest(old.secret), digest(new.secret)])
    first, second, third = await found(database, old.secret, new.secret, newest.secret)
    assert first is None  # only one secret before works
    assert None not in (second, third)

    told.clear()
    await keys.revoke(old.key.id)
    assert sorted(told) == sorted([digest(new.secret), digest(newest.secret)])
    assert await found(database, new.secret, newest.secret) == [None, None]
    with pytest.raises(KeyNotFound):
        await keys.rotate(old.key.id, overlap=DAY)


async def test_a_secret_that_leaked_ends_at_once(database: Database, ledger: Ledger):
    keys = ApiKeys(database, secret=Keyring(SECRET))
    old = await keys.create(ledger.organization_id, "k")
    forgotten: list[bytes] = []
    changes = KeyChanges(database, forgotten.append, lambda _: None)
    await changes.read()
    forgotten.clear()
    new = await keys.rotate(old.key.id, overlap=timedelta(0))
    before, after = await found(database, old.secret, new.secret)
    assert before is not None  # and known to have ended, which tells it from a mistyped one
    assert before.expires_at is not None
    assert before.expires_at <= datetime.now(UTC).timestamp()
    assert after is not None
    assert after.expires_at is None
    await changes.read()
    assert forgotten == [digest(old.secret)]  # by processes that missed the announcement too


async def test_the_overlap_is_not_longer_than_the_key(database: Database, ledger: Ledger):
    keys = ApiKeys(database, secret=Keyring(SECRET))
    ends = datetime.now(UTC) + timedelta(hours=1)
    old = await keys.create(ledger.organization_id, "k", expires_at=ends)
    new = await keys.rotate(old.key.id, overlap=DAY)
    for known in await found(database, old.secret, new.secret):
        assert known is not None
        assert known.expires_at == pytest.approx(ends.timestamp())


async def test_others_keys_are_not_found(database: Database, ledger: Ledger):
    keys = ApiKeys(database, secret=Keyring(SECRET))
    made = await keys.create(ledger.organization_id, "k")
    with pytest.raises(KeyNotFound):
        await keys.rotate(made.key.id, overlap=DAY, organization_id=new_id())
    assert None not in await found(database, made.secret)


async def test_a_lost_announcement_costs_half_a_second(database: Database, ledger: Ledger):
    keys = ApiKeys(database, secret=Keyring(SECRET))
    old = await keys.create(ledger.organization_id, "k")
    forgotten: list[bytes] = []
    changes = KeyChanges(database, forgotten.append, forgotten.append)
    await changes.read()
    forgotten.clear()
    new = await keys.rotate(old.key.id, overlap=DAY)
    await changes.read()
    assert sorted(forgotten) == sorted([digest(old.secret), digest(new.secret)])


async def test_the_secret_before_outlives_the_secret_of_its_mac(database: Database, ledger: Ledger):
    """It is looked up then, as the keys of version 0.1 are."""
    keys = ApiKeys(database, secret=Keyring(SECRET))
    async with database.write() as connection:
        (signing,) = await mac_secrets.listed(connection)
        await connection.execute(update(api_keys).values(mac_secret_id=signing.id))
        await mac_secrets.rotate(connection)
    old = await keys.create(ledger.organization_id, "k")
    await keys.rotate(old.key.id, overlap=DAY)
    store = open_key_store(database)
    try:
        assert not (await store.mac_secrets()).others
        async with database.write() as connection:
            newest = (await mac_secrets.listed(connection))[0].id
            await connection.execute(update(api_keys).values(mac_secret_id=newest))
            await mac_secrets.drop(connection, signing.id)
        assert (await store.mac_secrets()).others
        await keys.revoke(old.key.id)
        assert not (await store.mac_secrets()).others
    finally:
        await store.close()


async def test_old_secrets_are_forgotten(database: Database, ledger: Ledger):
    keys = ApiKeys(database, secret=Keyring(SECRET))
    old = await keys.create(ledger.organization_id, "k")
    await keys.rotate(old.key.id, overlap=DAY)

    async def kept() -> Any:
        async with database.write() as connection:
            await key_revocation.forget_old(connection)
            return await connection.scalar(
                select(api_keys.c.previous_digest).where(api_keys.c.id == old.key.id)
            )

    assert await kept() == digest(old.secret)
    async with database.write() as connection:
        ended = datetime.now(UTC) - timedelta(days=8)
        await connection.execute(update(api_keys).values(previous_until=ended))
    assert await kept() is None
