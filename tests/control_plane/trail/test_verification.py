"""Whatever a row of the trail is changed to, an audit finds it; a person can be forgotten."""

from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from gateway.control_plane.trail import entries
from gateway.control_plane.trail.audits import audit_trail, latest
from gateway.control_plane.trail.entries import Actor, Personal
from gateway.control_plane.trail.needs import audit_needs
from gateway.control_plane.trail.verification import Verified, holds, verify
from gateway.identifiers import new_id
from gateway.storage.database import Database, see_one_moment
from gateway.storage.tables import trail_words
from testing.tampering import tamper

ADA = new_id()
MEMBER = Actor(kind="member", user_id=ADA, origin="203.0.113.7")
OTHER = Actor(kind="operator", user_id=new_id(), origin="198.51.100.1")


async def recorded(database: Database, count: int = 5) -> None:
    for number in range(count):
        actor = OTHER if number % 2 else MEMBER
        async with database.write() as connection:
            after = {"nanos": number, "name": Personal("ci", actor.user_id)}
            await entries.record(
                connection, actor, "key.created", f"key:{number}", after=after, reason="because"
            )


async def verified(database: Database, **options: int) -> Verified:
    async with database.read() as connection:
        await see_one_moment(connection)
        return await verify(connection, **options)


async def test_what_was_recorded_holds(database: Database):
    assert (await verified(database)).broken == {}
    await recorded(database, 7)
    found = await verified(database)
    assert (found.number, found.is_whole, found.broken) == (7, True, {})
    half = await verified(database, after=3)
    assert (half.number, half.hash) == (7, found.hash)
    async with database.read() as connection:
        assert await holds(connection, 7, found.hash)
        assert not await holds(connection, 6, found.hash)
        assert not await holds(connection, 8, found.hash)


CHANGED = (
    "actor_id = NULL",
    "actor_kind = 'system'",
    "organization_id = NULL, action = 'key.changed'",
    "subject = 'key:9'",
    "before = 'gone'",
    "after = '{}'",
    "reason = ''",
    "origin = ''",
    "created_at = '2026-01-01T00:00:00+00:00'",
    "number = 9",
    "hash = (SELECT hash FROM trail_entries WHERE number = 2)",
)
MUTATIONS = (
    *((f"UPDATE trail_entries SET {changed} WHERE number = 3", "3") for changed in CHANGED),
    ("DELETE FROM trail_entries WHERE number = 1", "1"),
    ("DELETE FROM trail_entries WHERE number = 3", "3"),
    ("DELETE FROM trail_entries WHERE number = 5", "5"),
    ("DELETE FROM trail_entries", "5"),
    ("UPDATE trail_heads SET number = 4", "5"),
    ("DELETE FROM trail_heads", "5"),
)
"""What is changed, and the entry that does not fit."""

REWORDED = (
    f"UPDATE trail_words SET words = 'not' WHERE words = 'because' AND user_id = '{ADA}'",
    f"UPDATE trail_words SET words = '' WHERE words = 'because' AND user_id = '{ADA}'",
    f"DELETE FROM trail_words WHERE words = 'because' AND user_id = '{ADA}'",
)


async def test_a_changed_row_is_found(database: Database):
    await recorded(database)
    sought = [({"trail-is-a-chain": [culprit]}, change) for change, culprit in MUTATIONS]
    sought += [({"trail-words-are-kept": ["1", "3", "5"]}, change) for change in REWORDED]
    for broken, change in sought:
        async with database.engine.connect() as connection:  # and nothing is committed
            await tamper(connection, change)
            found = (await verify(connection)).broken
            assert broken.items() <= found.items(), change
    assert (await verified(database)).broken == {}


REFUSED = (
    "UPDATE trail_entries SET action = 'key.revoked'",
    "DELETE FROM trail_entries",
    "DELETE FROM trail_words",
    "UPDATE trail_words SET words = 'other'",
    "UPDATE trail_words SET words = '', user_id = NULL",
    """
    INSERT INTO trail_entries SELECT number + 2, created_at, actor_kind, actor_id, organization_id,
        action, subject, before, after, reason, origin, hash FROM trail_entries WHERE number = 5
    """,
)
TRUNCATED = tuple(
    f"TRUNCATE {table} CASCADE" for table in ("trail_entries", "trail_words", "ledger_entries")
)


async def test_the_database_refuses_to_rewrite_it(database: Database):
    await recorded(database)
    for statement in REFUSED if database.is_sqlite else REFUSED + TRUNCATED:
        with pytest.raises(DBAPIError, match=r"append-only|only be emptied|does not follow"):
            async with database.write() as connection:
                await connection.execute(text(statement))
    assert (await verified(database)).broken == {}


async def test_a_person_is_forgotten_and_the_chain_holds(database: Database):
    await recorded(database)
    before = await verified(database)
    async with database.write() as connection:
        await entries.record(
            connection,
            OTHER,
            "invitation.sent",
            "organization:1",
            after={"address": Personal("ada@example.com"), "name": Personal("Ada")},
        )
        await entries.forget(connection, ADA, "ada@example.com")
    assert (await verified(database)).broken == {}
    async with database.read() as connection:
        assert await holds(connection, before.number, before.hash)
        hers = select(trail_words.c.words, trail_words.c.salt).where(trail_words.c.user_id == ADA)
        assert {tuple(row) for row in await connection.execute(hers)} == {("", b"")}
        left = select(trail_words.c.words).where(trail_words.c.words != "")
        assert set(await connection.scalars(left)) == {"because", "ci", "198.51.100.1", "Ada"}


async def test_the_job_tells_until_it_is_mended(database: Database):
    await recorded(database)
    await audit_trail(database, 60.0)
    async with database.read() as connection:
        good = (await latest(connection))["trail"]
        assert await audit_needs(connection, good.ended_at) == []
        [late] = await audit_needs(connection, good.due_at + timedelta(days=9_999))
    assert (good.breaches, good.broken_since, late.key) == ({}, None, "audit:trail:late")

    changed = "UPDATE trail_entries SET subject = 'key:{}' WHERE number = 2"
    async with database.write() as connection:
        await tamper(connection, changed.format(9))
    since = set()
    for _ in range(2):
        await audit_trail(database, 60.0)
        async with database.read() as connection:
            result = (await latest(connection))["trail"]
            [need] = await audit_needs(connection, result.ended_at)
        assert result.breaches == {"trail-is-a-chain": ["2"]}
        assert (need.key, need.severity) == ("audit:trail:trail-is-a-chain", "critical")
        since.add(need.since)
    assert len(since) == 1

    async with database.write() as connection:
        await tamper(connection, changed.format(1))
    await audit_trail(database, 60.0)
    async with database.read() as connection:
        assert await audit_needs(connection, good.ended_at) == []

    async with database.write() as connection:
        await tamper(connection, REWORDED[0])
    for _ in range(2):
        assert (await audit_trail(database)).broken == {"trail-words-are-kept": ["1", "3", "5"]}


async def test_the_job_goes_on_where_it_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.control_plane.trail.audits._ENTRIES_MAX", 2)
    monkeypatch.setattr("gateway.control_plane.trail.verification._BATCH", 2)
    await recorded(database)
    assert [(await audit_trail(database)).number for _ in range(4)] == [2, 4, 5, 2]
