"""The form of a key, and what the cache in front of the database may and may not do."""

import asyncio
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data_plane.auth import keys
from gateway.data_plane.auth.authenticator import (
    AuthenticationUnavailable,
    Authenticator,
    KeyStoreUnavailable,
)
from gateway.errors import Unauthorized
from gateway.snapshots import KeySnapshot

SECRET = "x" * 32


def test_minted_keys_are_well_formed_and_differ():
    minted = {keys.mint() for _ in range(100)}
    assert len(minted) == 100
    assert all(keys.is_well_formed(key) for key in minted)


@given(st.integers(3, 48), st.sampled_from(string.digits + string.ascii_letters))
def test_one_wrong_character_is_noticed(position: int, character: str):
    key = "sk-" + "a" * 40
    key += keys._checksum("a" * 40)
    typo = key[:position] + character + key[position + 1 :]
    assert keys.is_well_formed(typo) == (typo == key)


@given(st.text(max_size=60))
def test_no_text_upsets_it(text: str):
    assert not keys.is_well_formed(text)


def test_a_digest_needs_the_deployments_secret():
    key = keys.mint()
    assert keys.digest(SECRET, key) == keys.digest(SECRET, key)
    assert keys.digest(SECRET, key) != keys.digest("y" * 32, key)
    assert key.encode() not in keys.digest(SECRET, key)


class Store:
    """Keys in a dict, with a switch for the world's failures."""

    def __init__(self) -> None:
        self.known: dict[bytes, KeySnapshot] = {}
        self.away = False
        self.asked = 0
        self.answer = asyncio.Event()
        self.answer.set()

    async def find(self, digest: bytes) -> KeySnapshot | None:
        self.asked += 1
        found = self.known.get(digest)
        await self.answer.wait()
        if self.away:
            raise KeyStoreUnavailable
        return found


class World:
    def __init__(self, entries_max: int = 100) -> None:
        self.store = Store()
        self.time = 1_000.0
        self.key = keys.mint()
        self.header = f"Bearer {self.key}"
        self.digest = keys.digest(SECRET, self.key)
        self.store.known[self.digest] = KeySnapshot(id="k", organization_id="o")
        self.authenticator = Authenticator(
            self.store,
            secret=SECRET,
            entries_max=entries_max,
            trusted_seconds=60,
            stale_seconds=3600,
            monotonic=lambda: self.time,
            now=lambda: self.time,
        )

    async def authenticate(self) -> str:
        return (await self.authenticator.authenticate(self.header)).id


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_known_key_is_read_once_a_minute(world: World):
    for _ in range(5):
        assert await world.authenticate() == "k"
    assert world.store.asked == 1
    world.time += 61
    await world.authenticate()
    assert world.store.asked == 2


async def test_a_known_key_works_for_an_hour_without_the_database(world: World):
    await world.authenticate()
    world.store.away = True
    world.time += 3599
    assert await world.authenticate() == "k"
    world.time += 2
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_an_unknown_key_without_the_database_is_503_and_never_401(world: World):
    world.store.away = True
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_a_forgotten_key_is_read_again(world: World):
    await world.authenticate()
    del world.store.known[world.digest]
    world.authenticator.forget(world.digest)
    with pytest.raises(Unauthorized):
        await world.authenticate()


async def test_a_forgotten_key_is_not_trusted_without_the_database(world: World):
    await world.authenticate()
    world.authenticator.forget(world.digest)
    world.store.away = True
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_a_revocation_during_a_read_is_not_overwritten_by_what_was_read(world: World):
    world.store.answer.clear()
    reading = asyncio.create_task(world.authenticate())
    while not world.store.asked:
        await asyncio.sleep(0)
    del world.store.known[world.digest]
    world.authenticator.forget(world.digest)
    world.store.answer.set()
    await reading  # it was good when this request asked
    with pytest.raises(Unauthorized):
        await world.authenticate()


async def test_a_flood_of_bad_keys_is_no_flood_of_queries(world: World):
    world.store.known.clear()
    for _ in range(50):
        with pytest.raises(Unauthorized):
            await world.authenticate()
    assert world.store.asked == 1
    world.store.known[world.digest] = KeySnapshot(id="k", organization_id="o")
    world.time += 3
    assert await world.authenticate() == "k"


async def test_an_expired_key_is_refused_from_the_cache_too(world: World):
    world.store.known[world.digest] = KeySnapshot(
        id="k", organization_id="o", expires_at=world.time + 10
    )
    await world.authenticate()
    world.time += 11
    with pytest.raises(Unauthorized, match="expired"):
        await world.authenticate()


async def test_the_cache_is_bounded():
    world = World(entries_max=3)
    for number in range(10):
        key = keys.mint()
        digest = keys.digest(SECRET, key)
        world.store.known[digest] = KeySnapshot(id=str(number), organization_id="o")
        await world.authenticator.authenticate(f"bearer {key}")
    assert len(world.authenticator._known) == 3
