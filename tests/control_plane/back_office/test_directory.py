"""The directory of organizations, on both databases: filters, pages, and what a line tells."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from gateway.control_plane.accounts import memberships, organizations, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.back_office import directory
from gateway.control_plane.back_office.directory import OrganizationFilter
from gateway.storage.database import Database
from gateway.storage.ledger import freezes
from gateway.storage.tables import accounts, payment_customers, payments
from testing.payments import Payment

NOW = datetime.now(UTC)


@pytest.fixture
async def ids(database: Database) -> dict[str, str]:
    """Northwind owes, acme is frozen twice, Contoso may not buy and has paid, ada's is her own."""
    made = {}
    async with database.write() as connection:
        for name in ("Northwind", "acme", "Contoso"):
            made[name] = (await organizations.create(connection, name)).id
        ada = await users.find_or_create(connection, Address("ada@one.example"))
        made["ada"] = ada.organization_id
        await memberships.add(connection, ada.id, made["acme"], "owner", members_max=9)
        owes = update(accounts).where(accounts.c.id == made["Northwind"])
        await connection.execute(owes.values(owed_nanos=5))
        await freezes.freeze(connection, made["acme"], "operator", reason="why")
        await freezes.freeze(connection, made["acme"], "dispute", ref="p")
        blank = dict.fromkeys(("card_brand", "card_last_four", "card_expires"), "")
        await connection.execute(
            insert(payment_customers).values(
                organization_id=made["Contoso"], generation=1, held_at=NOW, held_reason="warned",
                changed_at=NOW, card_fingerprint="", **blank,
            )
        )  # fmt: skip
    payment = await Payment.create(database, made["Contoso"], cents=500)
    async with database.write() as connection:
        paid = update(payments).where(payments.c.id == payment.id)
        await connection.execute(paid.values(paid_at=NOW))
    return made


async def found(database: Database, *, before: str | None = None, limit: int = 9, **chosen: Any):
    async with database.read() as connection:
        return await directory.listed(
            connection, OrganizationFilter(**chosen), before=before, limit=limit, now=NOW
        )


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({}, ["ada", "Contoso", "acme", "Northwind"]),
        ({"name": "north"}, ["Northwind"]),
        ({"name": "ACME"}, ["acme"]),
        ({"name": "orthwind"}, []),
        ({"name": "n_"}, []),
        ({"domain": "one.example"}, ["ada", "acme"]),
        ({"domain": "ne.example"}, []),
        ({"standing": "owing"}, ["Northwind"]),
        ({"standing": "frozen"}, ["acme", "Northwind"]),
        ({"standing": "held"}, ["Contoso"]),
        ({"bought": "yes"}, ["Contoso"]),
        ({"bought": "no", "standing": "held"}, []),
        ({"since": NOW.date(), "until": NOW.date()}, ["ada", "Contoso", "acme", "Northwind"]),
        ({"since": NOW.date() + timedelta(days=1)}, []),
        ({"until": NOW.date() - timedelta(days=1)}, []),
    ],
)
async def test_filters(
    database: Database, ids: dict[str, str], chosen: dict[str, Any], names: list[str]
):
    newest_first = sorted(names, key=lambda name: ids[name], reverse=True)
    assert [row.name for row in await found(database, **chosen)] == newest_first


@pytest.mark.sqlite
async def test_pages_follow_one_another(database: Database, ids: dict[str, str]):
    first = await found(database, limit=2)
    rest = await found(database, before=first[-1].id)
    assert [row.id for row in (*first, *rest)] == sorted(ids.values(), reverse=True)


async def test_a_line_tells_who_owns_it_and_what_is_amiss(database: Database, ids: dict[str, str]):
    rows = {row.name: row for row in await found(database)}
    assert (rows["acme"].owner, rows["acme"].owners) == ("ada@one.example", 1)
    assert (rows["Northwind"].owner, rows["Northwind"].owners) == ("", 0)
    assert set(rows["acme"].frozen) == {"operator", "dispute"}
    assert {name: row.state for name, row in rows.items()} == {
        "ada": "", "Contoso": "held", "acme": "frozen", "Northwind": "owing",
    }  # fmt: skip
    async with database.read() as connection:
        some = await directory.named(connection, [ids["acme"]])
    assert [row.id for row in some] == [ids["acme"]]
