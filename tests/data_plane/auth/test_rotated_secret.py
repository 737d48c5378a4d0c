"""Keys while the deployment's secret is rotated: found by any, by one statement."""

import asyncio

import pytest

from gateway.data_plane.auth.authenticator import Authenticator, KeyRules
from gateway.data_plane.auth.keys import mint
from gateway.data_plane.auth.reads import ReadRules
from gateway.errors import Unauthorized
from gateway.keyring import Keyring
from gateway.snapshots import KeySnapshot
from tests.data_plane.auth.test_authenticator import MAC_SECRET, Store

OLD, NEW = Keyring("o" * 32), Keyring("n" * 32)
BOTH = Keyring("n" * 32, "o" * 32)
SNAPSHOT = KeySnapshot(id="k", organization_id="o")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def authenticator(store: Store) -> Authenticator:
    rules = KeyRules(reads=ReadRules(wait_seconds=60, retry_seconds=2))
    made = Authenticator(store, secret=BOTH, rules=rules)
    await made.refresh()
    return made


async def test_a_key_under_the_old_secret_is_found_by_one_statement_and_told(
    store: Store, authenticator: Authenticator
):
    key = mint(MAC_SECRET)
    old, new = OLD.digest(key), NEW.digest(key)
    store.known[old] = SNAPSHOT
    for _ in range(3):
        assert await authenticator.authenticate(f"Bearer {key}") is SNAPSHOT
    assert [set(asked) for asked in store.asked] == [{old, new}]
    assert authenticator.take_outdated() == {old: new}
    assert authenticator.take_outdated() == {}


async def test_a_key_under_the_first_is_not_told(store: Store, authenticator: Authenticator):
    key = mint(MAC_SECRET)
    store.known[NEW.digest(key)] = SNAPSHOT
    assert await authenticator.authenticate(f"Bearer {key}") is SNAPSHOT
    assert authenticator.take_outdated() == {}


async def test_an_unknown_key_costs_one_statement_and_is_remembered(
    store: Store, authenticator: Authenticator
):
    key = mint(MAC_SECRET)
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(f"Bearer {key}")
    assert len(store.asked) == 1


async def test_a_made_up_key_costs_none(store: Store, authenticator: Authenticator):
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(f"Bearer {mint(b'x' * 32)}")
    assert store.asked == []


@pytest.mark.parametrize("told", [OLD, NEW])
@pytest.mark.parametrize("stored", [OLD, NEW])
async def test_a_revocation_may_name_either_digest(
    store: Store, authenticator: Authenticator, stored: Keyring, told: Keyring
):
    """Processes whose secrets are in another order name a key by the other digest."""
    key = mint(MAC_SECRET)
    store.known[stored.digest(key)] = SNAPSHOT
    await authenticator.authenticate(f"Bearer {key}")
    store.known.clear()
    authenticator.forget(told.digest(key))
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(f"Bearer {key}")


@pytest.mark.parametrize("told", [OLD, NEW])
async def test_a_key_that_was_unknown_is_known_once_it_is_told(
    store: Store, authenticator: Authenticator, told: Keyring
):
    key = mint(MAC_SECRET)
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(f"Bearer {key}")
    store.known[told.digest(key)] = SNAPSHOT
    authenticator.forget(told.digest(key))
    assert await authenticator.authenticate(f"Bearer {key}") is SNAPSHOT


@pytest.mark.parametrize("told", [OLD, NEW])
async def test_a_change_while_a_key_is_being_read_is_not_missed(
    store: Store, authenticator: Authenticator, told: Keyring
):
    key = mint(MAC_SECRET)
    store.known[OLD.digest(key)] = SNAPSHOT
    store.hang()
    first = asyncio.create_task(authenticator.authenticate(f"Bearer {key}"))
    await store.reached.wait()
    store.known.clear()
    authenticator.forget(told.digest(key))
    store.answers.set()
    assert await first is SNAPSHOT  # it came before
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(f"Bearer {key}")


async def test_what_is_evicted_leaves_nothing(store: Store):
    rules = KeyRules(entries_max=2, reads=ReadRules(wait_seconds=60, retry_seconds=2))
    authenticator = Authenticator(store, secret=BOTH, rules=rules)
    await authenticator.refresh()
    for _ in range(5):
        key = mint(MAC_SECRET)
        store.known[OLD.digest(key)] = SNAPSHOT
        await authenticator.authenticate(f"Bearer {key}")
    assert len(authenticator._known) == len(authenticator._firsts) == 2
