"""The lists of an organization's page are its own, and older lines are on pages of their own."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert

from gateway import wall
from gateway.control_plane.accounts import memberships, organizations, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.back_office import previews
from gateway.control_plane.pages.admin.sheets import SHEETS
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import Actor
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import grants

pytestmark = pytest.mark.sqlite
LINES = 3


async def fill(database: Database, name: str) -> str:
    """Give an organization lines of its own in every list; return its id."""
    now = wall.now()
    async with database.write() as connection:
        organization_id = (await organizations.create(connection, name)).id
        for number in range(LINES):
            mine = f"{name}-{number}"
            user = await users.find_or_create(connection, Address(f"{mine}@example.com"))
            await memberships.add(connection, user.id, organization_id, "owner")
            await grants.grant(connection, organization_id, 5, kind="promo", source_ref=mine)
            await connection.execute(
                insert(tables.leases).values(
                    id=new_id(), account_id=organization_id, replica_id=new_id(), granted_nanos=2,
                    spent_nanos=1, posted_nanos=0, postings=0, state="open", tick=1, opened_at=now,
                    returned_at=now, expires_at=now,
                )
            )  # fmt: skip
            await connection.execute(
                insert(tables.api_keys).values(
                    id=new_id(), organization_id=organization_id, name=mine, digest=mine.encode(),
                    last_four="abcd", created_at=now, created_by=user.id, changed_at=now,
                )
            )  # fmt: skip
            await payments.add(
                connection,
                Payment(
                    id=new_id(), organization_id=organization_id, origin="checkout", state="paid",
                    credit_nanos=1, amount_cents=1, live=False, created_at=now, changed_at=now,
                ),
            )  # fmt: skip
            await connection.execute(
                insert(tables.outbox).values(
                    id=new_id(), ref=mine, kind="notice", recipient=f"{mine}@example.com",
                    subject=mine, text="", html="", unsubscribe_url="", state="sent", attempts=1,
                    created_at=now, due_at=now, reason="",
                )
            )  # fmt: skip
            await connection.execute(
                insert(tables.webhook_endpoints).values(
                    id=new_id(), organization_id=organization_id, url=f"https://{mine}.example",
                    secret=b"x", created_at=now, disabled_reason="", served_at=now,
                )
            )  # fmt: skip
            await entries.record(
                connection, Actor(kind="system"), "key.created", f"key:{mine}",
                organization_id=organization_id,
            )  # fmt: skip
    return organization_id


@pytest.fixture
async def filled(sqlite_database_url: list[str]) -> AsyncIterator[tuple[Database, str, str]]:
    database = Database(sqlite_database_url[0])
    yield database, await fill(database, "acme"), await fill(database, "northwind")
    await database.close()


@pytest.mark.parametrize("name", SHEETS)
async def test_a_list_is_the_organizations_own(filled: tuple[Database, str, str], name: str):
    database, *owners = filled
    _, read = SHEETS[name]
    async with database.read() as connection:
        first, second = [await read(connection, owner, "", 9) for owner in owners]
    assert len(first.rows) == len(second.rows) == LINES
    assert {row.key for row in first.rows}.isdisjoint(row.key for row in second.rows)
    if name not in {"holds", "payments", "ledger"}:  # whose lines have no names
        for sheet, word, other in ((first, "acme", "northwind"), (second, "northwind", "acme")):
            assert all(word in str(row.values) for row in sheet.rows)
            assert other not in str(sheet.rows)


@pytest.mark.parametrize("name", sorted(SHEETS.keys() - {"members"}))
async def test_the_next_page_continues_after_the_last_line(
    filled: tuple[Database, str, str], name: str
):
    database, owner, _ = filled
    _, read = SHEETS[name]
    async with database.read() as connection:
        whole = [row.key for row in (await read(connection, owner, "", 9)).rows]
        first = [row.key for row in (await read(connection, owner, "", 2)).rows]
        rest = [row.key for row in (await read(connection, owner, first[-1], 2)).rows]
    assert whole == [*first, *rest]
    assert len(first) == 2


async def test_a_preview_is_of_one_account(filled: tuple[Database, str, str]):
    database, acme, northwind = filled
    async with database.write() as connection:
        await grants.grant(connection, northwind, 100, kind="paid", source_ref="more")
        stamp = await previews.stamp(connection, acme)
        assert (await previews._state(connection, acme)).promo == 5 * LINES
        assert (await previews._state(connection, acme)).paid == 0
        assert (await previews._state(connection, northwind)).paid == 100
        await entries.record(
            connection, Actor(kind="system"), "key.created", "key:x", organization_id=northwind
        )
        assert await previews.stamp(connection, acme) == stamp
        await grants.grant(connection, acme, 1, kind="promo", source_ref="one more")
        assert await previews.stamp(connection, acme) != stamp
