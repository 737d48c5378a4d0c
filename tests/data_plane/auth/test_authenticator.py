"""What the cache in front of the database may and may not do."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from gateway.data_plane.auth import keys
from gateway.data_plane.auth.authenticator import (
    AuthenticationUnavailable,
    Authenticator,
    KeyRules,
)
from gateway.data_plane.auth.networks import TooManyUnknownKeys
from gateway.data_plane.auth.reads import KeyStoreUnavailable, ReadRules
from gateway.errors import Unauthorized
from gateway.keyring import Keyring
from gateway.snapshots import KeySnapshot, MacSecrets

SECRET = "x" * 32
MAC_SECRET = b"m" * 32
OTHER_SECRET = b"o" * 32


class Store:
    """Keys in a dict, with switches for the world's failures."""

    def __init__(self) -> None:
        self.known: dict[bytes, KeySnapshot] = {}
        self.macs = MacSecrets(secrets=(MAC_SECRET,), others=False)
        self.away = False
        self.asked: list[Sequence[bytes]] = []
        """The keys of each statement."""
        self.reached = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
        self.asked.append(digests)
        self.reached.set()
        found = {digest: self.known[digest] for digest in digests if digest in self.known}
        await self.answers.wait()
        if self.away:
            raise KeyStoreUnavailable
        return found

    async def mac_secrets(self) -> MacSecrets:
        return self.macs

    def hang(self) -> None:
        self.answers.clear()
        self.reached.clear()


class World:
    """A process that knows of a key in the store, and time that passes when told."""

    def __init__(self, *, wait_seconds: float = 60, **rules: int) -> None:
        self.store = Store()
        self.time = 1_000.0
        self.key = keys.mint(MAC_SECRET)
        self.digest = self.add(self.key, "k")
        reads = ReadRules(wait_seconds=wait_seconds, retry_seconds=2)
        self.authenticator = Authenticator(
            self.store,
            secret=Keyring(SECRET),
            rules=KeyRules(reads=reads, **rules),
            monotonic=lambda: self.time,
            now=lambda: self.time,
        )

    def add(self, key: str, name: str, expires_at: float | None = None) -> bytes:
        digest = Keyring(SECRET).digest(key)
        self.store.known[digest] = KeySnapshot(id=name, organization_id="o", expires_at=expires_at)
        return digest

    async def authenticate(self, key: str | None = None, network: str = "n") -> str:
        header = f"Bearer {key or self.key}"
        return (await self.authenticator.authenticate(header, lambda: network)).id

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what happens behind requests."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.001)


@pytest.fixture
async def world() -> World:
    made = World()
    await made.authenticator.refresh()
    return made


async def test_who_comes_while_a_key_is_being_read_waits_for_the_same_answer(world: World):
    """And takes it from nobody who waits already."""
    world.store.hang()
    first = asyncio.create_task(world.authenticate())
    await world.store.reached.wait()
    second = asyncio.create_task(world.authenticate())
    for _ in range(3):
        await asyncio.sleep(0)
    world.store.answers.set()
    async with asyncio.timeout(30):
        assert await asyncio.gather(first, second) == ["k", "k"]
    assert len(world.store.asked) == 1


async def test_a_known_key_is_served_without_a_turn_of_the_loop(world: World):
    await world.authenticate()
    coroutine = world.authenticate()
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert ended.value.value == "k"
    assert len(world.store.asked) == 1


async def test_an_aged_key_is_served_at_once_while_one_refresh_runs_behind_it(world: World):
    await world.authenticate()
    world.time += 61
    world.store.hang()
    for _ in range(5):
        assert await world.authenticate() == "k"
    await world.store.reached.wait()
    assert await world.authenticate() == "k"
    assert len(world.store.asked) == 2
    del world.store.known[world.digest]
    world.store.answers.set()
    await world.until(lambda: world.authenticator._reads._running is None)
    assert world.authenticator._known[world.digest].read_at == world.time
    assert len(world.store.asked) == 2
    world.time += 61
    await world.authenticate()  # the last one before it is known that the key is gone
    await world.until(lambda: world.digest not in world.authenticator._known)
    with pytest.raises(Unauthorized):
        await world.authenticate()
    assert len(world.store.asked) == 3


async def test_a_key_that_changed_is_used_as_it_was_until_it_is_read(world: World):
    """A poll tells of the change, and the database goes just then."""
    await world.authenticate()
    world.store.away = True
    world.authenticator.outdate(world.digest)
    await world.until(lambda: len(world.store.asked) == 2)
    assert await world.authenticate() == "k"
    world.store.away = False
    world.time += 3
    world.add(world.key, "changed")
    await world.authenticate()
    await world.until(lambda: world.authenticator._known[world.digest].key.id == "changed")
    world.store.away = True
    world.time += 3
    world.authenticator.forget(world.digest)  # it was revoked
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_refreshes_of_a_moment_are_one_statement(world: World):
    made = [keys.mint(MAC_SECRET) for _ in range(20)]
    for key in made:
        world.add(key, key)
        await world.authenticate(key)
    world.store.asked.clear()
    world.time += 61
    for key in made:
        await world.authenticate(key)
        await asyncio.sleep(0)
    await world.until(lambda: bool(world.store.asked))
    assert [len(digests) for digests in world.store.asked] == [20]


async def test_ten_thousand_cold_keys_are_few_statements(world: World):
    made = [keys.mint(MAC_SECRET) for _ in range(10_000)]
    for key in made:
        world.add(key, key)
    assert await asyncio.gather(*(world.authenticate(key) for key in made)) == made
    assert len(world.store.asked) <= 21
    assert sum(len(digests) for digests in world.store.asked) == 10_000
    assert max(len(digests) for digests in world.store.asked) == 500


async def test_a_key_is_read_once_for_all_who_wait_for_it(world: World):
    world.store.hang()
    waiting = [asyncio.create_task(world.authenticate()) for _ in range(5)]
    await world.store.reached.wait()
    world.store.answers.set()
    assert await asyncio.gather(*waiting) == ["k"] * 5
    assert len(world.store.asked) == 1


async def test_a_known_key_works_for_an_hour_without_the_database(world: World):
    await world.authenticate()
    world.store.away = True
    for _ in range(59):
        world.time += 61
        assert await world.authenticate() == "k"
    world.time = 1_000 + 3_601
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_an_unknown_key_without_the_database_is_503_and_never_401(world: World):
    world.store.away = True
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_after_a_failure_nobody_asks_for_two_seconds(world: World):
    world.store.away = True
    for _ in range(5):
        with pytest.raises(AuthenticationUnavailable):
            await world.authenticate()
    assert len(world.store.asked) == 1
    world.store.away = False
    world.time += 2
    assert await world.authenticate() == "k"


async def test_a_database_that_hangs_is_waited_for_no_longer_than_allowed():
    world = World(wait_seconds=0.01)
    await world.authenticator.refresh()
    await world.authenticate()
    other = keys.mint(MAC_SECRET)
    world.add(other, "other")
    world.store.hang()
    world.time += 61
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate(other)
    coroutine = world.authenticate(other)  # by now that is remembered
    with pytest.raises(AuthenticationUnavailable):
        coroutine.send(None)
    assert await world.authenticate() == "k"
    world.store.answers.set()
    await world.until(lambda: len(world.authenticator._known) == 2)  # it came late, and counts
    assert await world.authenticate(other) == "other"
    assert (
        sum(
            other_digests.count(Keyring(SECRET).digest(other))
            for other_digests in world.store.asked
        )
        == 1
    )


async def test_a_loop_that_is_late_is_no_database_that_hangs(monkeypatch: pytest.MonkeyPatch):
    world = World(wait_seconds=0.01)
    await world.authenticator.refresh()
    find = world.store.find

    async def find_while_the_loop_is_busy(digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
        for _ in range(3):
            asyncio.get_running_loop().call_soon(time.sleep, 0.02)
            await asyncio.sleep(0)
        return await find(digests)

    monkeypatch.setattr(world.store, "find", find_while_the_loop_is_busy)
    assert await world.authenticate() == "k"


async def test_a_forgotten_key_in_use_is_read_again_at_once(world: World):
    await world.authenticate()
    world.add(world.key, "changed")
    world.authenticator.forget(world.digest)
    await world.until(lambda: world.digest in world.authenticator._known)
    world.store.away = True
    assert await world.authenticate() == "changed"


async def test_a_forgotten_key_is_not_trusted_without_the_database(world: World):
    await world.authenticate()
    world.authenticator.forget(world.digest)
    world.store.away = True
    with pytest.raises(AuthenticationUnavailable):
        await world.authenticate()


async def test_a_revocation_during_a_read_is_not_overwritten_by_what_was_read(world: World):
    world.store.hang()
    reading = asyncio.create_task(world.authenticate())
    await world.store.reached.wait()
    del world.store.known[world.digest]
    world.authenticator.forget(world.digest)
    late = asyncio.create_task(world.authenticate())
    await asyncio.sleep(0)
    world.store.answers.set()
    await reading  # it was good when this request asked
    for refused in (late, world.authenticate()):
        with pytest.raises(Unauthorized):
            await refused


async def test_an_unknown_key_is_asked_for_once_in_two_seconds(world: World):
    world.store.known.clear()
    for _ in range(50):
        with pytest.raises(Unauthorized):
            await world.authenticate()
    assert len(world.store.asked) == 1
    world.add(world.key, "k")
    world.time += 3
    assert await world.authenticate() == "k"


async def test_an_expired_key_is_refused_from_the_cache_too(world: World):
    world.add(world.key, "k", expires_at=world.time + 10)
    await world.authenticate()
    world.time += 11
    with pytest.raises(Unauthorized, match="expired"):
        await world.authenticate()


async def test_the_cache_is_bounded_and_drops_what_was_read_first():
    world = World(entries_max=3)
    for number in range(10):
        key = keys.mint(MAC_SECRET)
        world.add(key, str(number))
        await world.authenticate(key)
    assert [known.key.id for known in world.authenticator._known.values()] == ["7", "8", "9"]


async def test_made_up_keys_never_reach_the_database(world: World):
    for _ in range(1_000):
        with pytest.raises(Unauthorized):
            await world.authenticate(keys.mint(OTHER_SECRET))
    assert world.store.asked == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_key_of_an_older_process_works_once_it_is_announced(world: World, announced: bool):
    old = keys.mint(OTHER_SECRET)
    digest = world.add(old, "old")
    if announced:
        world.authenticator.forget(digest)
        assert await world.authenticate(old) == "old"
    else:
        world.store.macs = MacSecrets(secrets=(MAC_SECRET,), others=True)
        await world.authenticator.refresh()
        assert await world.authenticate(old) == "old"


async def test_secrets_that_were_not_read_lately_make_no_key_a_made_up_one(world: World):
    new = keys.mint(OTHER_SECRET)
    world.add(new, "new")
    world.time += 61
    assert await world.authenticate(new) == "new"


async def test_where_older_keys_are_in_use_a_network_tries_so_many_unknown_ones():
    world = World(unknown_per_minute=10)
    world.store.macs = MacSecrets(secrets=(MAC_SECRET,), others=True)
    await world.authenticator.refresh()
    old = [keys.mint(OTHER_SECRET) for _ in range(50)]
    for key in old:  # they exist, so they don't count
        world.add(key, key)
        assert await world.authenticate(key) == key
    world.store.asked.clear()
    refused = []
    for _ in range(1_000):
        with pytest.raises((Unauthorized, TooManyUnknownKeys)) as caught:
            await world.authenticate(keys.mint(OTHER_SECRET))
        refused.append(caught.type)
    assert len(world.store.asked) == 10
    assert refused == [Unauthorized] * 10 + [TooManyUnknownKeys] * 990
    assert await world.authenticate(old[0]) == old[0]  # known here
    assert await world.authenticate() == "k"  # carries a MAC
    with pytest.raises(Unauthorized):
        await world.authenticate(keys.mint(OTHER_SECRET), network="elsewhere")
    world.time += 6
    with pytest.raises(Unauthorized):
        await world.authenticate(keys.mint(OTHER_SECRET))


async def test_a_database_that_is_away_uses_up_no_tries():
    world = World(unknown_per_minute=1)
    world.store.away = True
    for _ in range(3):
        world.time += 3
        with pytest.raises(AuthenticationUnavailable):
            await world.authenticate()
    world.store.away = False
    world.time += 3
    assert await world.authenticate() == "k"
