"""Keys in the database, and how fast every process hears of a change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from sqlalchemy import func, insert, select, text, update

from gateway import wall
from gateway.control_plane.accounts import memberships, privacy, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.key_changes import KeyChanges
from gateway.control_plane.accounts.key_limits import TooManyKeys, check_room
from gateway.control_plane.accounts.key_revocation import EndedKeys, revoke_known_to
from gateway.control_plane.accounts.keys import ApiKeys, KeyNotFound
from gateway.control_plane.accounts.memberships import MemberNotFound
from gateway.control_plane.accounts.sessions import Visitor
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database, alone
from gateway.storage.redis import KeyAnnouncements
from gateway.storage.tables import api_keys
from gateway.storage.tables import users as user_rows
from testing.gateways import MODEL, SECRET, Api, Ledger, open_api
from testing.processes import Process


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database, secret=Keyring(SECRET))


async def test_a_key_is_shown_once_and_stored_as_a_digest(keys: ApiKeys, ledger: Ledger):
    made = await keys.create(ledger.organization_id, "  laptop ")
    async with ledger.database.read() as connection:
        stored = (await connection.execute(text("SELECT * FROM api_keys"))).all()
    assert made.secret[3:] not in str(stored)
    listed = (await keys.listed(ledger.organization_id))[-1]
    assert listed == made.key
    assert (listed.name, listed.prefix, listed.last_four) == ("laptop", "sk-", made.secret[-4:])


async def test_as_many_keys_as_allowed_and_no_more_when_none_is_of_today(
    ledger: Ledger,
):
    yesterday = datetime.now(UTC) - timedelta(days=2)
    async with ledger.database.write() as connection:
        await connection.execute(update(api_keys).values(created_at=yesterday))
        with pytest.raises(TooManyKeys, match=r"at most 1 keys\. Revoke"):
            await check_room(connection, ledger.organization_id, 1)
        await check_room(connection, ledger.organization_id, 2)


@pytest.mark.postgresql
async def test_a_key_that_is_being_made_does_not_outlive_its_maker_s_removal(
    postgresql_database_url: list[str],
):
    database = Database(postgresql_database_url[0])
    ledger = await Ledger.create(database)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
    async with database.write() as connection:
        user_id = new_id()
        await connection.execute(
            insert(user_rows).values(
                id=user_id, email="ada@example.com", created_at=datetime.now(UTC), welcome="given"
            )
        )

    async def remove() -> EndedKeys:
        async with database.write() as connection:
            return await revoke_known_to(connection, ledger.organization_id, user_id)

    async with database.write() as connection:
        await alone(connection, f"keys of {ledger.organization_id}")  # as `ApiKeys.create` does
        await connection.execute(update(api_keys).values(created_by=user_id))
        removing = asyncio.create_task(remove())
        async with asyncio.timeout(20), database.read() as other:
            while not removing.done() and not await other.scalar(waiting):
                await asyncio.sleep(0.01)
    assert (await removing).keys == 1
    await database.close()


async def test_it_is_recognized_until_it_is_revoked(keys: ApiKeys, ledger: Ledger):
    made = await keys.create(ledger.organization_id, "laptop")
    assert await keys.recognize(made.secret) == made.key.id
    await keys.revoke(made.key.id)
    await keys.revoke(made.key.id)
    assert await keys.recognize(made.secret) is None
    with pytest.raises(KeyNotFound):
        await keys.revoke(new_id())


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "name",
    [
        "", "   ", "a" * 201, "a\nb", "a\x00b", "a\u202eb", "\u3164", "\u2800\u2800", "\u200d",
        "\u0301",
    ],
)  # fmt: skip
async def test_names_that_are_none(keys: ApiKeys, ledger: Ledger, name: str):
    with pytest.raises(BadRequest) as caught:
        await keys.create(ledger.organization_id, name)
    assert caught.value.param == "name"


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "name",
    [
        "a",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "👩\u200d👩\u200d👧",
        "e\u0301",
        "字 & <b>",
    ],
)
async def test_names_in_any_writing(keys: ApiKeys, ledger: Ledger, name: str):
    assert (await keys.create(ledger.organization_id, name)).key.name == name


async def test_who_is_no_member_makes_no_key(keys: ApiKeys, ledger: Ledger):
    """The request may have been let in just before they were removed."""
    with pytest.raises(MemberNotFound):
        await keys.create(ledger.organization_id, "late", created_by=new_id())


async def test_a_key_that_would_expire_before_it_exists(keys: ApiKeys, ledger: Ledger):
    with pytest.raises(BadRequest):
        await keys.create(ledger.organization_id, "late", expires_at=wall.now())


async def test_changes_of_another_process_are_read_once_each(keys: ApiKeys, ledger: Ledger):
    forgotten: list[bytes] = []
    outdated: list[bytes] = []
    changes = KeyChanges(ledger.database, forgotten.append, outdated.append)
    await changes.read()
    assert len(outdated) == 1  # the fixture's
    made = await keys.create(ledger.organization_id, "laptop")
    await changes.read()
    assert len(outdated) == 2
    await changes.read()
    assert len(outdated) == 2
    assert forgotten == []
    await keys.revoke(made.key.id)
    await changes.read()
    assert forgotten == outdated[1:]


async def test_a_change_that_is_committed_after_a_later_one_is_read(keys: ApiKeys, ledger: Ledger):
    """Times are taken before the commit, by one clock: the database's."""
    forgotten: list[bytes] = []
    changes = KeyChanges(ledger.database, forgotten.append, forgotten.append)
    for name in ("first", "late"):
        await keys.create(ledger.organization_id, name)
    await changes.read()
    forgotten.clear()
    async with ledger.database.write() as connection:
        late = api_keys.c.name == "late"
        newest = await connection.scalar(select(func.max(api_keys.c.changed_at)))
        before = newest - timedelta(seconds=5)
        await connection.execute(update(api_keys).where(late).values(changed_at=before))
    await changes.read()
    assert len(forgotten) == 1


async def test_the_keys_of_who_was_removed_are_among_them(keys: ApiKeys, ledger: Ledger):
    async with ledger.database.write() as connection:
        user = await users.find_or_create(connection, Address("a@e.org"))
        await memberships.add(connection, user.id, ledger.organization_id, "member")
    await keys.create(ledger.organization_id, "laptop", created_by=user.id)
    forgotten: list[bytes] = []
    changes = KeyChanges(ledger.database, forgotten.append, forgotten.append)
    await changes.read()
    forgotten.clear()
    async with ledger.database.write() as connection:
        ended = await revoke_known_to(connection, ledger.organization_id, user.id)
    await changes.read()
    assert forgotten == ended.digests
    assert (ended.keys, len(ended.digests)) == (1, 1)


@pytest.mark.sqlite
async def test_keys_that_a_slow_process_ends_are_among_them(
    keys: ApiKeys, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """Its clock is an hour late when it closes an organization with the last of its members."""
    async with ledger.database.write() as connection:
        user = await users.find_or_create(connection, Address("a@e.org"))
        await memberships.add(connection, user.id, ledger.organization_id, "owner")
    await keys.create(ledger.organization_id, "laptop")
    ended: list[bytes] = []
    changes = KeyChanges(ledger.database, ended.append, lambda _digest: None)
    await changes.read()

    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr(privacy, "datetime", Late)
    leaves = Visitor(
        read_at=datetime.now(UTC), session_id="", user_id=user.id, email="a@e.org",
        address_key="a@e.org", role="owner", organization_id=ledger.organization_id,
        organization_name="acme",
    )  # fmt: skip
    async with ledger.database.write() as connection:
        await privacy.forget(connection, leaves)
    await changes.read()
    assert len(ended) == 2


class Listener:
    def __init__(self, url: str) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.announcements = KeyAnnouncements(url, self.heard.put_nowait)


@pytest.fixture
async def listener(redis_url: str) -> AsyncIterator[Listener]:
    made = Listener(redis_url)
    await made.announcements.start()
    async with asyncio.timeout(10):
        await made.announcements.subscribed.wait()
    yield made
    await made.announcements.stop()


async def test_an_announcement_is_heard_by_all(listener: Listener, redis_url: str):
    speaker = KeyAnnouncements(redis_url, lambda _digest: None)
    await speaker.announce(b"\x00\xff digest")
    await speaker.stop()
    async with asyncio.timeout(10):
        assert await listener.heard.get() == b"\x00\xff digest"


async def test_a_redis_that_is_away_is_no_error():
    announcements = KeyAnnouncements("redis://127.0.0.1:1/0", lambda _digest: None)
    await announcements.start()
    await announcements.announce(b"digest")
    assert not announcements.subscribed.is_set()
    await announcements.stop()


async def refused(api: Api) -> None:
    async with asyncio.timeout(10):
        while (await api.embed()).status_code != 401:
            await asyncio.sleep(0.01)


async def test_a_revocation_reaches_a_gateway_over_redis(
    sqlite_database_url: list[str], fake_worker: Process, redis_url: str
):
    workers = f"{MODEL}={fake_worker.url}"
    # so slow a poll never comes in this test: what is heard was announced
    changes = {"redis_url": redis_url, "revocation_poll_seconds": 3600.0}
    async with open_api(sqlite_database_url[0], workers, **changes) as api:
        assert (await api.embed()).status_code == 200
        await api.gateway.data.announcements.subscribed.wait()
        elsewhere = KeyAnnouncements(redis_url, lambda _digest: None)
        other = ApiKeys(
            api.gateway.core.database, secret=Keyring(SECRET), announce=elsewhere.announce
        )
        await other.revoke(api.ledger.key_id)
        await elsewhere.stop()
        await refused(api)


async def test_a_revocation_reaches_a_gateway_through_the_database(
    sqlite_database_url: list[str], fake_worker: Process
):
    workers = f"{MODEL}={fake_worker.url}"
    async with open_api(sqlite_database_url[0], workers, revocation_poll_seconds=0.05) as api:
        assert (await api.embed()).status_code == 200
        await ApiKeys(api.gateway.core.database, secret=Keyring(SECRET)).revoke(api.ledger.key_id)
        await refused(api)
