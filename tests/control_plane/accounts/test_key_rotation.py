"""A key's new secret: the one before works on for a while, and ends with the key."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from gateway.control_plane.accounts import (
    key_listing,
    key_revocation,
    key_trail,
    mac_secrets,
    memberships,
    privacy,
    users,
)
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.api_key import NewApiKey
from gateway.control_plane.accounts.key_changes import KeyChanges
from gateway.control_plane.accounts.key_listing import KnownKey
from gateway.control_plane.accounts.key_revocation import EndedKeys, KeyNotFound
from gateway.control_plane.accounts.key_trail import Doer
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.memberships import MemberNotFound
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.trail.entries import Actor
from gateway.control_plane.transfers.parts import KEY_PEOPLE
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.snapshots import KeySnapshot
from gateway.storage.database import Database
from gateway.storage.keys import open_key_store
from gateway.storage.ledger.budgets import Budget
from gateway.storage.tables import api_keys
from testing.gateways import SECRET, Ledger

DAY = timedelta(days=1)


class Colleagues:
    """Two members of an organization, and its keys."""

    def __init__(self, ledger: Ledger, maker: str, rotator: str) -> None:
        self.ledger, self.maker, self.rotator = ledger, maker, rotator
        self.keys = ApiKeys(ledger.database, secret=Keyring(SECRET))

    async def made(self, user_id: str = "") -> NewApiKey:
        user_id = user_id or self.maker
        return await self.keys.create(self.ledger.organization_id, "k", created_by=user_id)

    async def rotated(self, key: NewApiKey, user_id: str) -> NewApiKey:
        return await self.keys.rotate(
            key.key.id,
            overlap=DAY,
            organization_id=self.ledger.organization_id,
            doer=Doer(Actor(kind="member", user_id=user_id)),
        )

    async def known(self) -> dict[str, list[KnownKey]]:
        async with self.ledger.database.read() as connection:
            return await key_listing.known_by_user(connection, self.ledger.organization_id)

    async def parted(self, user_id: str) -> EndedKeys:
        async with self.ledger.database.write() as connection:
            return await key_revocation.revoke_known_to(
                connection, self.ledger.organization_id, user_id
            )

    async def working(self, *made: NewApiKey) -> list[bool]:
        """Which secrets work."""
        now = datetime.now(UTC).timestamp()
        return [
            known is not None and (known.expires_at is None or known.expires_at > now)
            for known in await found(self.ledger.database, *(key.secret for key in made))
        ]


@pytest.fixture
async def colleagues(ledger: Ledger) -> Colleagues:
    both = []
    async with ledger.database.write() as connection:
        for name, role in (("maker", "owner"), ("rotator", "member")):
            user = await users.find_or_create(connection, Address(f"{name}@example.org"))
            await memberships.add(connection, user.id, ledger.organization_id, role)
            both.append(user.id)
    return Colleagues(ledger, *both)


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


async def test_whoever_rotated_a_key_last_does_not_keep_it(colleagues: Colleagues):
    made = await colleagues.made()
    rotated = await colleagues.rotated(made, colleagues.rotator)
    assert await colleagues.known() == {
        colleagues.maker: [KnownKey("k", rotated.key.last_four, "before")],
        colleagues.rotator: [KnownKey("k", rotated.key.last_four, "rotated")],
    }
    ended = await colleagues.parted(colleagues.rotator)
    assert ended.keys == 1
    assert sorted(ended.digests) == sorted([digest(made.secret), digest(rotated.secret)])
    assert await colleagues.working(made, rotated) == [False, False]
    assert await colleagues.known() == {}


async def test_of_a_key_that_others_rotated_since_only_the_former_secret_ends(
    colleagues: Colleagues,
):
    made = await colleagues.made()
    rotated = await colleagues.rotated(made, colleagues.rotator)
    forgotten: list[bytes] = []
    changes = KeyChanges(colleagues.ledger.database, forgotten.append, lambda _: None)
    await changes.read()
    forgotten.clear()
    assert await colleagues.working(made, rotated) == [True, True]
    assert await colleagues.parted(colleagues.maker) == EndedKeys(0, [digest(made.secret)])
    assert await colleagues.working(made, rotated) == [False, True]
    await changes.read()
    assert forgotten == [digest(made.secret)]  # where the announcement was lost too
    assert await colleagues.parted(colleagues.maker) == EndedKeys(0, [])
    rotations = [KnownKey("k", rotated.key.last_four, "rotated")]
    assert await colleagues.known() == {colleagues.rotator: rotations}


async def test_the_former_secret_of_a_rotation_ends_with_who_made_that_one(colleagues: Colleagues):
    made = await colleagues.made()
    second = await colleagues.rotated(made, colleagues.rotator)
    third = await colleagues.rotated(second, colleagues.maker)
    assert await colleagues.known() == {
        colleagues.maker: [KnownKey("k", third.key.last_four, "created")],
        colleagues.rotator: [KnownKey("k", third.key.last_four, "before")],
    }
    assert await colleagues.parted(colleagues.rotator) == EndedKeys(0, [digest(second.secret)])
    assert await colleagues.working(made, second, third) == [False, False, True]
    assert (await colleagues.parted(colleagues.maker)).keys == 1
    assert await colleagues.working(third) == [False]


async def test_a_key_that_nobody_known_rotated_is_its_maker_s(colleagues: Colleagues):
    made = await colleagues.rotated(await colleagues.made(), colleagues.rotator)
    rotated = await colleagues.keys.rotate(made.key.id, overlap=timedelta(0))
    assert await colleagues.parted(colleagues.rotator) == EndedKeys(0, [])
    assert (await colleagues.parted(colleagues.maker)).keys == 1
    assert await colleagues.working(rotated) == [False]


async def test_who_was_just_removed_rotates_no_key(colleagues: Colleagues):
    """The request may have been let in just before."""
    made = await colleagues.made()
    async with colleagues.ledger.database.write() as connection:
        await memberships.remove(connection, colleagues.ledger.organization_id, colleagues.rotator)
    with pytest.raises(MemberNotFound):
        await colleagues.rotated(made, colleagues.rotator)
    assert await colleagues.working(made) == [True]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_key_that_is_being_rotated_does_not_outlive_its_rotator_s_removal(
    colleagues: Colleagues, monkeypatch: pytest.MonkeyPatch
):
    """A removal that begins before the rotation's commit waits for it."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
    made, database = await colleagues.made(), colleagues.ledger.database
    removing: list[asyncio.Task[EndedKeys]] = []

    async def between(*_: Any) -> None:
        """Last in the rotation's transaction."""
        removing.append(asyncio.create_task(colleagues.parted(colleagues.rotator)))
        async with asyncio.timeout(20), database.read() as other:
            while not removing[0].done() and not await other.scalar(waiting):
                await asyncio.sleep(0.01)

    monkeypatch.setattr(key_trail, "rotated", between)
    rotated = await colleagues.rotated(made, colleagues.rotator)
    assert (await removing[0]).keys == 1
    assert await colleagues.working(rotated) == [False]


async def test_keys_forget_whoever_deletes_their_account(colleagues: Colleagues):
    twice = await colleagues.rotated(await colleagues.made(colleagues.rotator), colleagues.rotator)
    await colleagues.rotated(twice, colleagues.rotator)
    people = [api_keys.c[name] for name in KEY_PEOPLE]
    mine = api_keys.c.id == twice.key.id
    visitor = Visitor(
        read_at=datetime.now(UTC), session_id="", user_id=colleagues.rotator,
        email="rotator@example.org", address_key="rotator@example.org", role="member",
        organization_id=colleagues.ledger.organization_id, organization_name="acme",
    )  # fmt: skip
    async with colleagues.ledger.database.write() as connection:
        before = (await connection.execute(select(*people).where(mine))).one()
        held = await privacy.export(connection, visitor)
        await privacy.forget(connection, visitor)
        after = (await connection.execute(select(*people).where(mine))).one()
    assert tuple(before) == (colleagues.rotator,) * 3
    assert [key["name"] for key in held["rotated_keys"]] == ["k"]
    assert tuple(after) == (None,) * 3
