"""The schema: up, down, the same as the tables say, and history that can't be rewritten."""

import asyncio
from datetime import UTC, datetime

import pytest
from alembic import command
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import DBAPIError

from gateway.identifiers import new_id
from gateway.storage import database as database_module
from gateway.storage import migrate
from gateway.storage.database import Database, DatabaseError
from gateway.storage.ledger import grants
from gateway.storage.tables import launch_organizations, organizations, usage_days
from testing.gateways import MODEL, Ledger
from testing.ledger import in_auckland


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


async def test_organizations_told_of_a_launch_before_are_known(database: Database):
    told, other = new_id(), new_id()
    async with database.write() as connection:
        for organization_id, ref in ((told, f"launch:{MODEL}:{told}"), (other, "signup:x")):
            await connection.execute(
                insert(organizations).values(
                    id=organization_id, name="o", created_at=datetime.now(UTC)
                )
            )
            await grants.open_account(connection, organization_id)
            await grants.grant(connection, organization_id, 5, kind="promo", source_ref=ref)
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "0011-1"))
    await migrate.upgrade(database)
    async with database.read() as connection:
        (row,) = (await connection.execute(select(launch_organizations))).all()
    assert (row.model_id, row.organization_id, row.credit) == (MODEL, told, "granted")
    assert row.told_at is not None


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


async def test_a_migration_has_all_the_time_it_needs(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database_module, "_COMMAND_SECONDS", 0.2)
    database = Database(postgresql_database_url[0])
    holder = Database(postgresql_database_url[0], is_patient=True)
    async with holder.engine.connect() as connection:
        await connection.execute(text(f"SELECT pg_advisory_lock({migrate._LOCK})"))
        waiting = asyncio.create_task(migrate.upgrade(database))
        await connection.execute(text("SELECT pg_sleep(0.6)"))
        assert not waiting.done()
        await connection.execute(text(f"SELECT pg_advisory_unlock({migrate._LOCK})"))
    await waiting
    await holder.close()
    await database.close()


async def test_hours_of_before_0009_become_days_of_utc(database: Database):
    def before(sync: Connection) -> None:
        command.downgrade(migrate.config(sync), "0008")

    ledger = await Ledger.create(database)
    async with database.engine.connect() as connection:
        await connection.run_sync(before)
    await in_auckland(database)
    async with database.write() as connection:
        for hour, shard in (("03T23", 0), ("04T00", 0), ("04T00", 7), ("04T23", 0)):
            names = f"'{ledger.organization_id}', '2026-11-{hour}:00:00.000000+00:00'"
            row = f"{names}, '{ledger.key_id}', '{MODEL}', {shard}, 1, 2, 3, 24"
            await connection.execute(text(f"INSERT INTO usage_hours VALUES ({row})"))
    await migrate.upgrade(database)
    async with database.read() as connection:
        days = (await connection.execute(select(usage_days).order_by("day", "shard"))).all()
    assert [(str(row.day), row.shard, row.requests, row.charged_nanos) for row in days] == [
        ("2026-11-03", 0, 1, 24), ("2026-11-04", 0, 2, 48), ("2026-11-04", 7, 1, 24),
    ]  # fmt: skip
    assert "days-equal-hours" not in await ledger.breaches()


async def test_what_0001_held_is_carried_over(database: Database):
    def to_first(sync: Connection) -> None:
        command.downgrade(migrate.config(sync), "0001")

    ledger = await Ledger.create(database)
    async with database.engine.connect() as connection:
        await connection.run_sync(to_first)
    one = ledger.organization_id
    at = "2026-01-01T10:30:00.000000+00:00"
    request = "019b7900-0000-7000-8000-000000000000"
    names = f"'{one}', '{ledger.key_id}', '{MODEL}', '{ledger.price_id}'"
    async with database.write() as connection:
        for table, row in (
            ("accounts", f"'{one}', 60, 24"),
            ("credit_lots", f"'{one}', '{one}', 'paid', 100, 84, 'x', '{at}', NULL"),
            ("ledger_entries", f"1, '{one}', 'grant', '{one}', 100, '{at}'"),
            ("ledger_entries", f"2, '{one}', 'usage', '{request}', -16, '{at}'"),
            ("usage_events", f"'{request}', {names}, 1, 2, 16, '{at}'"),
        ):
            await connection.execute(text(f"INSERT INTO {table} VALUES ({row})"))
    await migrate.upgrade(database)
    assert await ledger.breaches() == []
    assert await ledger.available() == 84
    assert [row.charged_nanos for row in await ledger.usage()] == [16]
