"""Two people who share what two organizations have, and have one more each for themselves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import identities, memberships, organizations, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.codes import SignInCodes
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.sessions import Sessions, Visitor
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage import tables
from gateway.storage.database import Database

SECRET = Keyring("s" * 32)
NOW = datetime.now(UTC).replace(microsecond=0)
GUESTS = ("guest", "other", "late")
_OWNERS = ("user_id", "organization_id", "key_id", "email", "recipient", "voter_key")


def address_of(name: str) -> str:
    return f"{name}@example.com"


class World:
    """Ada and Bob both own A and B; Ada alone owns C, and Bob D.

    Each has a session in each of theirs, keys, and people whom they invited. A row's name says what
    it is and whose, such as `session ada A`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ids: dict[str, str] = {}
        self.keys = ApiKeys(database, secret=SECRET)
        self.sessions = Sessions(database, secret=SECRET, seconds=3600, rotation_seconds=600)
        self.codes = SignInCodes(SECRET)

    def __getitem__(self, name: str) -> str:
        return self.ids[name]

    async def fill(self) -> None:
        async with self.database.write() as connection:
            for name in "ABCD":
                self.ids[name] = (await organizations.create(connection, name)).id
            for name in ("ada", "bob"):
                self.ids[name] = await self._person(connection, name)
            for person, place in [*product(("ada", "bob"), "AB"), ("ada", "C"), ("bob", "D")]:
                await self._belongings(connection, person, place)

    async def _person(self, connection: AsyncConnection, name: str) -> str:
        user = await users.find_or_create(connection, Address(address_of(name)))
        (founded,) = await memberships.of_user(connection, user.id)
        self.ids[f"home-{name}"] = founded.organization_id
        await connection.execute(
            insert(tables.authenticators).values(
                user_id=user.id, sealed=b"x", last_step=0, created_at=NOW
            )
        )
        github = await identities.of(connection, SECRET, "github", name)
        await identities.connect(connection, github, user.id)
        for at in range(2):  # asked from two browsers
            await self._link(
                connection, f"{name} {at}", purpose="sign_in", email=address_of(name),
                subject="/", form=f"form {at}",
            )  # fmt: skip
        return user.id

    async def _belongings(self, connection: AsyncConnection, person: str, place: str) -> None:
        user_id, organization_id = self.ids[person], self.ids[place]
        await memberships.add(connection, user_id, organization_id, "owner")
        await connection.execute(
            insert(tables.sessions).values(
                id=self._named(f"session {person} {place}"), user_id=user_id,
                organization_id=organization_id, removed_from=self["A"], generation=1,
                created_at=NOW, rotated_at=NOW, expires_at=NOW + timedelta(hours=1),
                verified_at=NOW, browser="Firefox", network="192.0.2.0/24",
            )
        )  # fmt: skip
        other = self.ids["bob" if person == "ada" else "ada"]
        for what, holder, hours in [
            ("own", user_id, 1), ("rotated", other, 1), ("long rotated", other, -1),
        ]:  # fmt: skip
            name = f"key {person} {place} {what}"
            await connection.execute(
                insert(tables.api_keys).values(
                    id=self._named(name), organization_id=organization_id, name=name,
                    digest=name.encode(), previous_digest=f"{name}, before".encode(),
                    previous_until=NOW + timedelta(hours=hours), previous_rotated_by=user_id,
                    last_four="abcd", created_at=NOW, created_by=user_id, rotated_by=holder,
                    changed_at=NOW,
                )
            )  # fmt: skip
        for guest in GUESTS:
            await self._link(
                connection, f"{person} {place} {guest}", purpose="invitation",
                email=address_of(guest), subject=organization_id, maker=user_id,
                role="member",
            )  # fmt: skip

    async def _link(self, connection: AsyncConnection, name: str, **values: Any) -> None:
        await connection.execute(
            insert(tables.mail_links).values(
                id=self._named(f"link {name}"), created_at=NOW,
                expires_at=NOW + timedelta(hours=1), **values,
            )
        )  # fmt: skip

    def _named(self, name: str) -> str:
        self.ids[name] = new_id()
        return self.ids[name]

    async def rows(self) -> dict[str, Any]:
        names = {held: name for name, held in self.ids.items()}
        names |= {address_of(name): name for name in ("ada", "bob")}
        found = {}

        def name_of(table: Table, row: Any) -> str:
            name = names.get(row.get("id"), "")
            if " " in name:
                return name
            owners = (
                [name]
                if name
                else [names[row[column]] for column in _OWNERS if row.get(column) in names]
            )
            return f"{table.name}: {' '.join(owners)}"

        async with self.database.read() as connection:
            for table in tables.metadata.sorted_tables:
                for row in (await connection.execute(select(table))).mappings():
                    found[name_of(table, row)] = dict(row)
        return found

    async def changed_by(self, act: Callable[[], Awaitable[Any]]) -> set[str]:
        before = await self.rows()
        await act()
        after = await self.rows()
        return {name for name in before | after if before.get(name) != after.get(name)}

    def visitor(self, person: str, place: str) -> Visitor:
        return Visitor(
            user_id=self[person], session_id=self[f"session {person} {place}"],
            organization_id=self[place], organization_name=place, email=address_of(person),
            address_key=person, role="owner", read_at=NOW,
        )  # fmt: skip

    async def within(self, act: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        async with self.database.write() as connection:
            return await act(connection, *args)


@pytest.fixture
async def world(sqlite_database_url: list[str]) -> AsyncIterator[World]:
    database = Database(sqlite_database_url[0])
    made = World(database)
    await made.fill()
    yield made
    await database.close()
