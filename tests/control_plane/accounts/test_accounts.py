"""Accounts under concurrency: one address is one user with one organization and one credit."""

import asyncio
from unittest.mock import ANY

import pytest
from sqlalchemy import select

from gateway.control_plane.accounts import memberships, users
from gateway.control_plane.accounts import organizations as organization_service
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.key_limits import TooManyKeys
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.links import MailLinks, NewLink, Purpose
from gateway.control_plane.accounts.memberships import OrganizationFull
from gateway.control_plane.billing.promotions import Welcome
from gateway.keyring import Keyring
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
    welcome = Welcome(
        secret=Keyring("s"), credit_nanos=5, credit_days=1, day_nanos=100, share_nanos=100
    )
    found = await asyncio.gather(*(enter(database, "a@e.org", welcome) for _ in range(4)))
    assert len(set(found)) == 1
    async with database.read() as connection:
        for table in (users_table, organizations, credit_lots):
            assert len((await connection.execute(select(table))).all()) == 1, table


async def test_a_mailbox_is_sent_so_many_links_however_many_ask_at_once(database: Database):
    links = MailLinks(
        secret=Keyring("s"),
        seconds={"sign_in": 60, "waitlist": 60, "invitation": 60},
        per_hour=3,
        domain_per_hour=9,
    )

    async def ask(n: int, purpose: Purpose) -> NewLink | None:
        async with database.write() as connection:
            return await links.create(connection, purpose, Address(f"a.da+{n}@gmail.com"), "/")

    made = await asyncio.gather(*(ask(n, "waitlist") for n in range(12)))
    assert sum(link is not None for link in made) == 3
    # what strangers ask for in somebody's name does not keep them from signing in
    assert await ask(0, "sign_in") is not None


async def test_a_domain_is_sent_so_many_links_by_strangers(database: Database):
    links = MailLinks(secret=Keyring("s"), seconds={"sign_in": 60}, per_hour=3, domain_per_hour=2)

    async def ask(email: str) -> NewLink | None:
        async with database.write() as connection:
            return await links.create(connection, "sign_in", Address(email), "/")

    async with database.write() as connection:
        await users.find_or_create(connection, Address("boss@flood.example"))
    made = [await ask(f"{n}@flood.example") for n in range(4)]
    assert [link is not None for link in made] == [True, True, False, False]
    assert await ask("boss@flood.example") == NewLink(ANY, ANY, stranger=False)
    assert await ask("ada@elsewhere.example") == NewLink(ANY, ANY, stranger=True)
    for n in range(4):
        assert await ask(f"{n}@gmail.com") is not None  # anyone has a mailbox there


@pytest.mark.usefixtures("now")
async def test_no_domain_and_no_network_takes_the_day_s_credit(database: Database):
    welcome = Welcome(
        secret=Keyring("s"), credit_nanos=5, credit_days=1, day_nanos=100, share_nanos=10
    )

    async def greet(email: str, network: str) -> str:
        async with database.write() as connection:
            user = await users.find_or_create(connection, Address(email))
            return await welcome.greet(connection, user, Address(email), network=network)

    async def granted(*arrivals: tuple[str, str]) -> int:
        reasons = await asyncio.gather(*(greet(*arrival) for arrival in arrivals))
        return reasons.count("granted")

    one_domain = [(f"{n}@flood.example", f"198.51.{n}.7") for n in range(6)]
    assert await granted(*one_domain) == 2
    one_network = [(f"a@d{n}.example", f"203.0.113.{n}") for n in range(6)]
    assert await granted(*one_network) == 2
    one_site = [(f"b@e{n}.example", f"2001:db8:7:{n}::/64") for n in range(6)]
    assert await granted(*one_site) == 2
    providers = [(f"{n}@gmail.com", f"192.0.{n}.9") for n in range(6)]
    assert await granted(*providers) == 6
    async with database.read() as connection:
        (day,) = (await connection.execute(select(promotion_days))).all()
    assert day.granted_nanos == 5 * 12


async def test_an_organization_has_so_many_keys_however_many_ask_at_once(database: Database):
    async with database.write() as connection:
        organization = await organization_service.create(connection, "acme")
    keys = ApiKeys(database, secret=Keyring("s" * 32))

    async def make() -> bool:
        try:
            await keys.create(organization.id, "k", keys_max=2)
        except TooManyKeys:
            return False
        return True

    assert sum(await asyncio.gather(*(make() for _ in range(8)))) == 2
    for key in await keys.listed(organization.id):
        await keys.revoke(key.id)
    assert not await make()  # and so many a day, or revoked ones would pile up


async def test_an_organization_has_so_many_members_however_many_join_at_once(database: Database):
    async with database.write() as connection:
        organization = await organization_service.create(connection, "acme")
        people = [await users.find_or_create(connection, Address(f"p{n}@e.org")) for n in range(8)]

    async def join(user: users.User) -> bool:
        try:
            async with database.write() as connection:
                await memberships.add(connection, user.id, organization.id, "member", members_max=3)
        except OrganizationFull:
            return False
        return True

    assert sum(await asyncio.gather(*(join(user) for user in people))) == 3


async def test_the_budget_holds_however_many_come_at_once(database: Database):
    welcome = Welcome(
        secret=Keyring("s"), credit_nanos=5, credit_days=1, day_nanos=17, share_nanos=17
    )
    await asyncio.gather(*(enter(database, f"p{n}@e.org", welcome) for n in range(12)))
    async with database.read() as connection:
        lots = (await connection.execute(select(credit_lots))).all()
        (day,) = (await connection.execute(select(promotion_days))).all()
    assert len(lots) == 3
    assert day.granted_nanos == 15
