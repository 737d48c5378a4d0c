"""Keys as the data plane reads them: many in one statement, on both databases."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text, update

from gateway.control_plane.accounts import mac_secrets
from gateway.control_plane.accounts.api_key import NewApiKey
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.data_plane.auth import keys
from gateway.data_plane.auth.reads import KeyStoreUnavailable
from gateway.keyring import Keyring
from gateway.snapshots import KeySnapshot
from gateway.storage.database import Database
from gateway.storage.keys import PostgresKeys, SqliteKeys, open_key_store
from gateway.storage.ledger.budgets import Budget
from gateway.storage.tables import api_keys
from gateway.storage.tables import mac_secrets as secrets_table
from testing.gateways import SECRET, Ledger


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresKeys | SqliteKeys]:
    opened = open_key_store(database)
    yield opened
    await opened.close()


def digest(key: str) -> bytes:
    return Keyring(SECRET).digest(key)


async def make(ledger: Ledger, **options) -> NewApiKey:
    service = ApiKeys(ledger.database, secret=Keyring(SECRET))
    return await service.create(ledger.organization_id, "k", **options)


async def test_many_keys_are_found_at_once(store: PostgresKeys | SqliteKeys, ledger: Ledger):
    expires_at = datetime.now(UTC) + timedelta(days=3)
    plain = await make(ledger)
    full = await make(
        ledger,
        expires_at=expires_at,
        token_ids_from="model",
        truncate="end",
        budget=Budget(limit_nanos=8, period="month"),
    )
    revoked = await make(ledger)
    await ApiKeys(ledger.database, secret=Keyring(SECRET)).revoke(revoked.key.id)
    for asked in ([plain], [plain, full, revoked], [full, plain, revoked] * 11):
        found = await store.find([*{digest(made.secret): None for made in asked}, b"unknown"])
        assert found[digest(plain.secret)] == KeySnapshot(
            id=plain.key.id, organization_id=ledger.organization_id
        )
        assert digest(revoked.secret) not in found
    assert found[digest(full.secret)] == KeySnapshot(
        id=full.key.id,
        organization_id=ledger.organization_id,
        expires_at=pytest.approx(expires_at.timestamp()),
        token_ids_from="model",
        truncate="end",
        budget="month",
    )


async def test_a_store_that_fails_works_again_afterwards(
    store: PostgresKeys | SqliteKeys, ledger: Ledger
):
    async def rename(before: str, after: str) -> None:
        async with ledger.database.write() as connection:
            await connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))

    one = digest(ledger.secret)
    assert one in await store.find([one])
    await rename("api_keys", "away")
    with pytest.raises(KeyStoreUnavailable):
        await store.find([one])
    await rename("away", "api_keys")
    assert one in await store.find([one])


async def test_new_keys_carry_a_mac_and_those_of_version_0_1_are_noticed(
    store: PostgresKeys | SqliteKeys, ledger: Ledger
):
    known = await store.mac_secrets()
    assert keys.is_ours(ledger.secret, known.secrets)
    assert not known.others
    async with ledger.database.write() as connection:  # as version 0.1 leaves it
        await connection.execute(update(api_keys).values(mac_secret_id=None))
    assert (await store.mac_secrets()).others
    await ApiKeys(ledger.database, secret=Keyring(SECRET)).revoke(ledger.key_id)
    assert not (await store.mac_secrets()).others


async def test_the_set_rotates_without_a_key_that_a_process_could_not_know(
    store: PostgresKeys | SqliteKeys, ledger: Ledger
):
    first = await store.mac_secrets()
    async with ledger.database.write() as connection:
        await mac_secrets.rotate(connection)
    both = await store.mac_secrets()
    assert set(first.secrets) < set(both.secrets)
    assert keys.is_ours((await make(ledger)).secret, first.secrets)
    async with ledger.database.write() as connection:  # some minutes later
        newest, oldest = await mac_secrets.listed(connection)
        assert (newest.keys, oldest.keys) == (0, 2)
        past = oldest.signs_from + timedelta(microseconds=1)
        own = secrets_table.c.id == newest.id
        await connection.execute(update(secrets_table).where(own).values(signs_from=past))
    made = await make(ledger)
    assert not keys.is_ours(made.secret, first.secrets)
    assert keys.is_ours(made.secret, both.secrets)
    assert not both.others


async def test_keys_of_a_lost_secret_count_as_those_of_version_0_1(
    store: PostgresKeys | SqliteKeys, ledger: Ledger
):
    async with ledger.database.write() as connection:
        (only,) = await mac_secrets.listed(connection)
        await mac_secrets.drop(connection, only.id)
        for unknown in (only.id, "nonsense"):
            with pytest.raises(mac_secrets.MacSecretNotFound):
                await mac_secrets.drop(connection, unknown)
    lost = await store.mac_secrets()
    assert (lost.secrets, lost.others) == ((), True)
    made = await make(ledger)  # and one that is made meanwhile
    found = await store.find([digest(ledger.secret), digest(made.secret)])
    assert len(found) == 2
