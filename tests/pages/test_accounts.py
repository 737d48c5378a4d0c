"""Accounts under concurrency: one address is one user with one organization and one credit."""

import asyncio

from sqlalchemy import select

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.welcome import Welcome
from gateway.storage.database import Database
from gateway.storage.tables import credit_lots, organizations, promotion_days
from gateway.storage.tables import users as users_table


async def enter(database: Database, email: str, welcome: Welcome) -> str:
    address = Address(email)
    async with database.write() as connection:
        user = await users.find_or_create(connection, address)
        if user.is_new:
            await welcome.greet(connection, user, address)
    return user.id


async def test_two_links_of_one_address_at_once(database: Database):
    welcome = Welcome(secret="s", credit_nanos=5, credit_days=1, day_nanos=100)
    found = await asyncio.gather(*(enter(database, "a@e.org", welcome) for _ in range(4)))
    assert len(set(found)) == 1
    async with database.read() as connection:
        for table in (users_table, organizations, credit_lots):
            assert len((await connection.execute(select(table))).all()) == 1, table


async def test_the_budget_holds_however_many_come_at_once(database: Database):
    welcome = Welcome(secret="s", credit_nanos=5, credit_days=1, day_nanos=17)
    await asyncio.gather(*(enter(database, f"p{n}@e.org", welcome) for n in range(12)))
    async with database.read() as connection:
        lots = (await connection.execute(select(credit_lots))).all()
        (day,) = (await connection.execute(select(promotion_days))).all()
    assert len(lots) == 3
    assert day.granted_nanos == 15
