"""The trail's chain holds, on both databases."""

from sqlalchemy import select

from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import Actor, Personal
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import trail_entries, trail_words


async def test_each_entry_is_chained_to_the_one_before(database: Database):
    operator = Actor(kind="operator", user_id=new_id(), origin="203.0.113.7")
    for number in (1, 2, 3):
        async with database.write() as connection:
            after = {"nanos": number, "address": Personal("ada@example.com")}
            made = await entries.record(
                connection, operator, "credit.granted", "organization:1", after=after, reason="why"
            )
            assert made == number
    async with database.read() as connection:
        query = select(trail_entries).order_by(trail_entries.c.number)
        rows = (await connection.execute(query)).mappings().all()
        words = set((await connection.scalars(select(trail_words.c.words))).all())
    chained = bytes(32)
    for row in rows:
        assert entries.hash_of(chained, row) == row["hash"]
        assert "ada@" not in row["after"]
        chained = row["hash"]
    assert words == {"ada@example.com", "203.0.113.7", "why"}
