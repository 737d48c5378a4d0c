"""What moves from an old secret to the new one, and what is counted until it has."""

from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts import identities, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.authenticators import Authenticators
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.alerts.addresses import Addresses
from gateway.control_plane.alerts.endpoints import Endpoints
from gateway.control_plane.alerts.signatures import SigningSecrets
from gateway.control_plane.billing.promotions import Welcome
from gateway.control_plane.secrets import record
from gateway.control_plane.secrets.dependents import Dependents, dependents, keys_under
from gateway.control_plane.secrets.remaking import Remaking
from gateway.control_plane.secrets.resealing import reseal
from gateway.keyring import Keyring
from gateway.sealing import Seal
from gateway.storage.database import Database
from gateway.storage.tables import api_keys
from testing.gateways import Ledger
from tests.control_plane.secrets.test_record import NEW, OLD, STEP_1, STEP_2


async def hanging(database: Database, on: Keyring, keyring: Keyring = STEP_2) -> Dependents:
    async with database.read() as connection:
        return await dependents(connection, keyring, on.fingerprints[0])


async def rotate(database: Database) -> None:
    for keyring in (OLD, STEP_1, STEP_2):
        await record.register(database, keyring)


async def remake(database: Database, keyring: Keyring, key: str) -> None:
    """Do what a process does that found a key by its other digest."""
    (first, other) = keyring.digests(key)
    remaking = Remaking(database, lambda: {other: first}, fingerprint=keyring.fingerprints[0])
    await remaking.run()


async def digests(database: Database, key_id: str) -> tuple[bytes, bytes | None]:
    query = select(api_keys.c.digest, api_keys.c.previous_digest).where(api_keys.c.id == key_id)
    async with database.read() as connection:
        return tuple((await connection.execute(query)).one())


async def test_keys_move_when_they_are_used(ledger: Ledger):
    database, keys = ledger.database, ApiKeys(ledger.database, secret=STEP_2)
    async with database.write() as connection:  # as version 0.1 made it
        await connection.execute(update(api_keys).values(digest_secret=None))
    await rotate(database)
    assert (await hanging(database, OLD)).api_keys == 1
    async with database.read() as connection:
        assert await keys_under(connection, OLD.fingerprints[0], most=9) == [ledger.key_id]
    await remake(database, STEP_2, ledger.secret)
    assert (await digests(database, ledger.key_id))[0] == NEW.digest(ledger.secret)
    assert (await hanging(database, OLD)).api_keys == 0
    assert (await hanging(database, NEW)).api_keys == 1
    assert await keys.recognize(ledger.secret) == ledger.key_id


async def test_the_secret_before_of_a_key_moves_too(ledger: Ledger):
    database = ledger.database
    await record.register(database, OLD)
    keys = ApiKeys(database, secret=OLD)
    made = await keys.rotate(ledger.key_id, overlap=timedelta(hours=1))
    await rotate(database)
    await remake(database, STEP_2, made.secret)
    assert (await hanging(database, OLD)).api_keys == 1
    await remake(database, STEP_2, ledger.secret)
    assert await digests(database, ledger.key_id) == (
        NEW.digest(made.secret), NEW.digest(ledger.secret),
    )  # fmt: skip
    assert (await hanging(database, OLD)).api_keys == 0


async def test_a_process_from_before_moves_nothing_back(ledger: Ledger):
    database = ledger.database
    await rotate(database)
    made = await ApiKeys(database, secret=STEP_2).create(ledger.organization_id, "new")
    await remake(database, STEP_1, made.secret)
    assert (await digests(database, made.key.id))[0] == NEW.digest(made.secret)
    await record.register(database, STEP_1)  # a rollback, which does
    await remake(database, STEP_1, made.secret)
    assert (await digests(database, made.key.id))[0] == OLD.digest(made.secret)


@pytest.mark.sqlite
async def test_a_key_that_is_revoked_or_over_holds_nothing(ledger: Ledger):
    database = ledger.database
    await rotate(database)
    await ApiKeys(database, secret=STEP_2).revoke(ledger.key_id)
    assert (await hanging(database, OLD)).must_stay == 2  # the secrets of digests


@pytest.mark.postgresql
async def test_what_is_sealed_is_sealed_again(ledger: Ledger):
    database, organization_id = ledger.database, ledger.organization_id
    await record.register(database, OLD)
    async with database.write() as connection:
        user = await users.find_or_create(connection, Address("eve@example.com"))
        endpoints = Endpoints(SigningSecrets(OLD.derive("webhooks")), Addresses(["127.0.0.1"]))
        url = "https://127.0.0.1/hook"
        endpoint, first = await endpoints.add(
            connection, organization_id, url, ["balance.empty"], user.id
        )
        second = await endpoints.rotate(connection, organization_id, endpoint.id)
        apps = Authenticators(Seal(OLD.derive("authenticators")), brand="Stella")
        offer = apps.offer(user.id, "eve@example.com")
        totp = pyotp.TOTP(offer.secret)
        await apps.set_up(connection, user.id, offer.sealed, totp.now())
    await rotate(database)
    assert first != second
    found = await hanging(database, OLD)
    assert (found.webhooks, found.authenticators, found.lasting) == (2, 1, 2)
    assert await reseal(database, STEP_2) == {"webhooks": 2, "authenticators": 1, "lasting": 2}
    assert await reseal(database, STEP_2) == {}
    assert await reseal(database, STEP_1) == {}  # its first secret does not make any more
    found = await hanging(database, OLD)
    assert (found.webhooks, found.authenticators, found.lasting) == (0, 0, 0)
    async with database.read() as connection:
        moved = Endpoints(SigningSecrets(NEW.derive("webhooks")), Addresses())
        assert await moved.reveal(connection, organization_id, endpoint.id) == second


@pytest.mark.postgresql
async def test_who_had_free_credit_is_known_for_good(database: Database):
    """Its digests are in the ledger, and nobody can make them again."""

    def welcome(keyring: Keyring) -> Welcome:
        return Welcome(secret=keyring, credit_nanos=5, credit_days=1, day_nanos=99, share_nanos=99)

    async def come(keyring: Keyring) -> str:
        async with database.write() as connection:
            address = Address("ada@example.com")
            user = await users.find_or_create(connection, address)
            reason = await welcome(keyring).greet(connection, user, address)
            return str(reason)

    async def identity(keyring: Keyring) -> bytes:
        async with database.write() as connection:
            return (await identities.of(connection, keyring, "github", "7")).digest

    await record.register(database, OLD)
    before = await identity(OLD)
    assert before == OLD.derive("identities").digest("github|7")  # as version 0.1 had it
    assert await come(OLD) == "granted"
    await rotate(database)
    await reseal(database, STEP_2)
    await record.register(database, NEW)
    assert await identity(NEW) == before
    assert await come(NEW) == "granted_before"
