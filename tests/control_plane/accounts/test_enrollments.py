"""Enrollments: one operator's address sets one operator's factor, once, within its hour."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway.control_plane.accounts import enrollments, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.enrollments import EnrollmentSpent
from gateway.storage import tables
from gateway.storage.clock import clock
from gateway.storage.database import Database

EVE, ADA = "eve@example.com", "ada@example.com"


class Desk:
    """Two operators, each with a token."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ids: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    async def begin(self, address: str) -> str:
        async with self.database.write() as connection:
            self.ids[address] = (await users.find_or_create(connection, Address(address))).id
            return await enrollments.begin(connection, self.ids[address])

    async def use(self, token: str, address: str) -> None:
        async with self.database.write() as connection:
            await enrollments.use(connection, token, self.ids[address])

    async def is_open(self, token: str, address: str | None = None) -> bool:
        async with self.database.read() as connection:
            return await enrollments.is_open(
                connection, token, self.ids[address] if address else None
            )

    async def age(self, address: str) -> None:
        table = tables.enrollments
        async with self.database.write() as connection:
            await connection.execute(
                update(table)
                .where(table.c.user_id == self.ids[address])
                .values(expires_at=clock(timedelta(seconds=-1)))
            )


@pytest.fixture
async def desk(sqlite_database_url: list[str]):
    desk = Desk(Database(sqlite_database_url[0]))
    desk.tokens = {address: await desk.begin(address) for address in (EVE, ADA)}
    yield desk
    await desk.database.close()


async def test_a_token_is_its_operators_alone(desk: Desk):
    assert await desk.is_open(desk.tokens[EVE])
    assert await desk.is_open(desk.tokens[EVE], EVE)
    assert not await desk.is_open(desk.tokens[EVE], ADA)
    with pytest.raises(EnrollmentSpent):
        await desk.use(desk.tokens[EVE], ADA)
    await desk.use(desk.tokens[EVE], EVE)
    assert await desk.is_open(desk.tokens[ADA], ADA)


async def test_a_token_is_used_once(desk: Desk):
    await desk.use(desk.tokens[EVE], EVE)
    assert not await desk.is_open(desk.tokens[EVE])
    with pytest.raises(EnrollmentSpent):
        await desk.use(desk.tokens[EVE], EVE)


async def test_no_other_word_is_a_token(desk: Desk):
    assert not await desk.is_open("x" * 43)
    with pytest.raises(EnrollmentSpent):
        await desk.use("x" * 43, EVE)


async def test_one_that_is_too_old_is_refused_and_forgotten(desk: Desk):
    await desk.age(EVE)
    assert not await desk.is_open(desk.tokens[EVE], EVE)
    with pytest.raises(EnrollmentSpent):
        await desk.use(desk.tokens[EVE], EVE)
    async with desk.database.write() as connection:
        await enrollments.forget_old(connection)
    assert await desk.is_open(desk.tokens[ADA], ADA)


async def test_a_newer_token_replaces_ones_own_and_so_does_calling_it_off(desk: Desk):
    newer = await desk.begin(EVE)
    assert not await desk.is_open(desk.tokens[EVE])
    assert await desk.is_open(newer, EVE)
    async with desk.database.write() as connection:
        await enrollments.cancel(connection, desk.ids[EVE])
    assert not await desk.is_open(newer)
    assert await desk.is_open(desk.tokens[ADA], ADA)
