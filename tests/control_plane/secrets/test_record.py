"""Which secret a database was used with: a wrong one does not start, whatever depends on it."""

import pytest
from structlog.testing import capture_logs

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.secrets import record
from gateway.control_plane.secrets.record import WrongSecret
from gateway.control_plane.secrets.resealing import reseal
from gateway.keyring import Keyring
from gateway.storage.database import Database
from testing.gateways import SECRET, Ledger

OLD, NEW = Keyring(SECRET), Keyring("fedcba9876543210" * 4)
STEP_1, STEP_2 = Keyring(*OLD.all, *NEW.all), Keyring(*NEW.all, *OLD.all)


async def refused(database: Database, keyring: Keyring) -> str:
    with pytest.raises(WrongSecret) as raised:
        await record.register(database, keyring)
    said = str(raised.value)
    assert "\n" not in said
    assert not any(secret in said for secret in keyring.all)
    return said


async def known(database: Database) -> dict[str, bool]:
    """Return the known secrets, the one that makes first, and whether each is retired."""
    async with database.read() as connection:
        found = await record.listed(connection)
    return {one.fingerprint: one.retired_at is not None for one in found}


async def test_a_wrong_secret_is_refused_and_leaves_nothing(database: Database):
    await record.register(database, OLD)
    said = await refused(database, NEW)
    assert said.startswith(f"GATEWAY_SECRET (fingerprint {NEW.fingerprints[0]}) is not the secret")
    assert OLD.fingerprints[0] in said
    await record.register(database, OLD)
    assert await known(database) == {OLD.fingerprints[0]: False}


async def test_a_secret_on_which_a_key_hangs_can_t_be_forgotten(ledger: Ledger):
    database = ledger.database
    await record.register(database, OLD)
    for keyring in (STEP_1, STEP_2):
        await record.register(database, keyring)
    said = await refused(database, NEW)
    assert f"lacks the secret with the fingerprint {OLD.fingerprints[0]}, and 1 API keys" in said
    assert "`gateway secrets retire" in said
    # nor the new one, once it made something: a way back without it would refuse that
    await ApiKeys(database, secret=STEP_2).create(ledger.organization_id, "new")
    said = await refused(database, OLD)
    assert f"{NEW.fingerprints[0]}, and 1 API keys still depend on it" in said


async def test_what_nothing_hangs_on_is_retired_and_may_come_back(database: Database):
    await record.register(database, OLD)
    await record.register(database, STEP_2)
    # what outlives the secret is sealed under it until it is sealed again
    assert "2 sealed secrets of digests" in await refused(database, NEW)
    assert await reseal(database, STEP_2) == {"lasting": 2}
    await record.register(database, NEW)
    new, old = NEW.fingerprints[0], OLD.fingerprints[0]
    assert await known(database) == {new: False, old: True}
    await refused(database, OLD)
    await record.register(database, STEP_1)
    assert await known(database) == {old: False, new: False}


@pytest.mark.sqlite
async def test_an_operator_may_give_up_what_hangs_on_a_secret(ledger: Ledger):
    database = ledger.database
    await record.register(database, OLD)
    await record.register(database, STEP_2)
    await refused(database, NEW)
    async with database.write() as connection:
        await record.retire(connection, OLD.fingerprints[0])
    await record.register(database, NEW)


@pytest.mark.sqlite
async def test_several_secrets_on_a_database_that_knows_none(ledger: Ledger):
    assert "start once with that one alone" in await refused(ledger.database, STEP_2)


@pytest.mark.sqlite
async def test_keys_that_were_made_before_the_first_start_say_by_what(ledger: Ledger):
    """Those that are revoked, as an import may bring them, bind nobody."""
    assert "that API keys of this database were made with" in await refused(ledger.database, NEW)
    await ApiKeys(ledger.database, secret=OLD).revoke(ledger.key_id)
    await record.register(ledger.database, NEW)


@pytest.mark.sqlite
async def test_a_command_that_makes_writes_the_first_secret_down_and_none_after(database: Database):
    await record.enter(database, OLD)
    assert await known(database) == {OLD.fingerprints[0]: False}
    await record.register(database, STEP_2)
    before = await known(database)
    await record.enter(database, STEP_1)
    assert list(await known(database)) == list(before)
    with pytest.raises(WrongSecret):
        await record.enter(database, Keyring("0f1e2d3c4b5a6978" * 4))


@pytest.mark.sqlite
async def test_a_new_secret_that_is_the_first_at_once_is_warned_of(database: Database):
    def warnings(logs: list) -> list[str]:
        return [line["fingerprint"] for line in logs if line["log_level"] == "warning"]

    await record.register(database, OLD)
    with capture_logs() as logs:
        await record.register(database, STEP_1)
        await record.register(database, STEP_2)
    assert warnings(logs) == []
    third = Keyring("0f1e2d3c4b5a6978" * 4, *NEW.all, *OLD.all)
    with capture_logs() as logs:
        await record.register(database, third)
    assert warnings(logs) == [third.fingerprints[0]]
