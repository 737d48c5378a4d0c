"""The schema: up, down, the same as the tables say, and history that can't be rewritten."""

import asyncio

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.storage import migrate
from gateway.storage.database import Database, DatabaseError


async def test_tables_and_migrations_agree(database: Database):
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.check(migrate.config(sync)))


async def test_down_and_up_again(database: Database):
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "base"))
    with pytest.raises(DatabaseError, match="run `gateway migrate`"):
        await migrate.check(database)
    await migrate.upgrade(database)
    await migrate.check(database)


async def test_two_at_once_do_not_collide(database_url: str):
    first, second = Database(database_url), Database(database_url)
    async with first.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "base"))
    await asyncio.gather(migrate.upgrade(first), asyncio.to_thread(_upgrade, second))
    await migrate.check(first)
    await first.close()


def _upgrade(database: Database) -> None:
    async def run() -> None:
        await migrate.upgrade(database)
        await database.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "verb", ["UPDATE ledger_entries SET amount_nanos = 0", "DELETE FROM ledger_entries"]
)
async def test_history_is_append_only(database: Database, verb: str):
    async with database.write() as connection:
        await connection.execute(
            text(
                "INSERT INTO organizations (id, name, created_at) VALUES "
                "('01a206dc-dbdd-7544-9d13-ce150f25679d', 'acme', '2026-01-01T00:00:00+00:00')"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, "
                "owed_nanos, spent_nanos, frozen) VALUES ('01a206dc-dbdd-7544-9d13-ce150f25679d', "
                "'01a206dc-dbdd-7544-9d13-ce150f25679d', 5, 0, 0, 0, '0')"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, "
                "counterpart, created_at) VALUES ('01a206dc-dbdd-7544-9d13-ce150f25679d', 'grant', "
                "'01a206dc-dbdd-7544-9d13-ce150f25679d', 5, 'promo_expense', "
                "'2026-01-01T00:00:00+00:00')"
            )
        )
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.write() as connection:
            await connection.execute(text(verb))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", "use postgresql"),
        ("nonsense", "no database address"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, message: str):
    with pytest.raises(DatabaseError, match=message):
        Database(url)


async def test_a_broken_file_is_one_clear_line(tmp_path):
    path = tmp_path / "gateway.db"
    path.write_text("this is not a database, " * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match=r"gateway\.db: file is not a database"):
        await migrate.upgrade(database)
    await database.close()
