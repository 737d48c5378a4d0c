"""Lists of votes and of the waitlist are found by domain, by an index."""

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.demand import vote_lists, waitlist
from gateway.control_plane.demand.vote_lists import EntryFilter, VoteFilter
from gateway.storage.database import Database
from gateway.storage.tables import demand_votes
from testing.marketplace import vote
from tests.control_plane.conftest import STELLA
from tests.control_plane.demand.conftest import account

WAITING = ("ada@one.example", "bob@one.example", "eve@sub.one.example", "kim@two.example")


async def matching(connection: AsyncConnection, q: str) -> set[str]:
    found = await vote_lists.waiting(connection, EntryFilter(q=q), limit=10)
    return {entry.email for entry in found}


async def test_a_domain_or_an_address_is_found(database: Database):
    async with database.write() as connection:
        for address in WAITING:
            await waitlist.join(connection, STELLA, Address(address), None)
        assert await matching(connection, "One.example") == set(WAITING[:2])
        assert await matching(connection, "@two.example") == {"kim@two.example"}
        assert await matching(connection, "ada@one.example") == {"ada@one.example"}
        assert await matching(connection, "example") == set()
    visitor = await account(database, "ada@one.example")
    async with database.write() as connection:
        cast = vote(visitor.user_id, STELLA, visitor.read_at) | {"voter_key": visitor.address_key}
        await connection.execute(insert(demand_votes).values(**cast))
        (found,) = await vote_lists.votes(connection, VoteFilter(q="one.example"), limit=10)
    assert found.id == cast["id"]


@pytest.mark.parametrize(
    ("table", "key"), [("waitlist_entries", "address_key"), ("demand_votes", "voter_key")]
)
async def test_postgresql_has_a_valid_index_of_domains(
    postgresql_database_url: list[str], table: str, key: str
):
    opened = Database(postgresql_database_url[0])
    index = f"ix_{table}_domain"
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = CAST(:name AS regclass)"
    asked = f"EXPLAIN SELECT id FROM {table} WHERE split_part({key}, '@', 2) = 'one.example'"
    async with opened.write() as connection:
        assert await connection.scalar(text(valid), {"name": index})
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = " ".join(await connection.scalars(text(asked)))
    await opened.close()
    assert index in plan
