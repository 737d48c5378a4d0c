"""History is only ever added to; and the service runs as a role that owns nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Table, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from gateway.app import build
from gateway.cli.migrate import migrate
from gateway.control_plane.trail.entries import SYSTEM, record
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.storage.database import Database
from gateway.storage.ledger.partitions import maintain
from gateway.storage.privileges import APPEND_ONLY
from gateway.storage.tables import metadata
from testing.filled import Books
from testing.gateways import MODEL, SECRET, open_api, settings
from testing.ledger import running
from testing.processes import Process

DENIED = r"permission denied|must be owner"


async def fill(database: Database, folder: Path) -> None:
    """Have rows in every table of history."""
    books = await Books.fill(database)
    async with running(database, folder, receipts=ReceiptSigner(SECRET)) as engine:
        charge = books.customer.charge()
        await engine.reserve(charge)
        await engine.settle(charge)
    async with database.write() as connection:
        await record(connection, SYSTEM, "key.created", "key:1")


async def rows(database: Database, table: Table) -> int:
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(table)) or 0


async def refuses(database: Database, statement: str, why: str) -> None:
    with pytest.raises(DBAPIError, match=why):
        async with database.write() as connection:
            await connection.execute(text(statement))


async def test_history_is_append_only(database: Database, tmp_path: Path):
    """For the owner of the schema too."""
    await fill(database, tmp_path / "journals")
    for table in APPEND_ONLY:
        assert await rows(database, table), table.name
        column = list(table.columns)[-1].name
        await refuses(database, f"UPDATE {table.name} SET {column} = {column}", "append-only")
        await refuses(database, f"DELETE FROM {table.name}", "append-only")


@pytest.fixture
async def owned(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    database = Database(postgresql_database_url[0])
    yield database
    await database.close()


@pytest.fixture
async def served(service_url: str) -> AsyncIterator[Database]:
    database = Database(service_url)
    yield database
    await database.close()


async def test_history_can_t_be_emptied(owned: Database):
    await maintain(owned, retention_days=400)
    async with owned.read() as connection:
        parts = await connection.scalars(
            text("SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid "
                 "WHERE relkind = 'r'")
        )  # fmt: skip
        partitions = parts.all()
    assert len(partitions) > 10
    for name in (*(table.name for table in APPEND_ONLY), "trail_words", *partitions):
        await refuses(owned, f"TRUNCATE {name} CASCADE", "append-only")


@pytest.fixture
async def service_url(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Migrate as the owner, for a role that may do nothing before."""
    (owner_url,) = postgresql_database_url
    owner = Database(owner_url)
    role = f"service_{make_url(owner_url).database}"
    async with owner.write() as connection:
        await connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    url = make_url(owner_url).set(username=role, password=None).render_as_string()
    environment = {
        "GATEWAY_SECRET": SECRET, "DATABASE_URL": url,
        "GATEWAY_MIGRATION_DATABASE_URL": owner_url, "PATH": os.environ["PATH"],
    }  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(os, "environ", environment)
        migrated = await _in_thread(migrate)
    assert migrated == "The database is up to date.\n"
    yield url
    async with owner.write() as connection:
        await connection.execute(text(f"DROP OWNED BY {role}"))
        await connection.execute(text(f"DROP ROLE {role}"))
    await owner.close()


async def test_the_service_runs_as_a_role_that_owns_nothing(
    service_url: str, served: Database, fake_worker: Process, tmp_path: Path
):
    """All of it: requests, pages' objects, and each of its jobs."""
    await fill(served, tmp_path / "journals")
    async with served.write() as connection:  # a model that a gateway can read
        card = "(SELECT max(card) FROM models WHERE card <> '{}')"
        await connection.execute(text(f"UPDATE models SET card = {card} WHERE card = '{{}}'"))
    async with open_api(service_url, f"{MODEL}={fake_worker.url}") as api:
        await api.ready()
        assert (await api.embed()).status_code == 200
    gateway = build(settings(service_url))
    async with gateway.running():
        await gateway.services.keys.create(api.ledger.organization_id, "laptop")
        for job in gateway.jobs:
            async with asyncio.timeout(10):
                await job.run()
    async with served.read() as connection:
        today = f"usage_events_{datetime.now(UTC):%Y%m%d}"
        assert await connection.scalar(text(f"SELECT to_regclass('{today}') IS NOT NULL"))


async def test_it_can_neither_change_tables_nor_rewrite_history(served: Database):
    for table in APPEND_ONLY:
        for statement in (
            f"UPDATE {table.name} SET {list(table.columns)[-1].name} = NULL",
            f"DELETE FROM {table.name}",
        ):
            await refuses(served, statement, DENIED)
    async with served.read() as connection:
        parts = await connection.scalars(
            text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN "
                 "('usage_events'::regclass, 'receipt_roots'::regclass)")
        )  # fmt: skip
        partitions = parts.all()
    assert partitions
    for name in partitions[:2] + partitions[-2:]:
        for statement in (f"DELETE FROM {name}", f"INSERT INTO {name} SELECT * FROM {name}"):
            await refuses(served, statement, DENIED)
    for table in metadata.sorted_tables:
        for statement in (f"TRUNCATE {table.name} CASCADE", f"DROP TABLE {table.name} CASCADE"):
            await refuses(served, statement, DENIED)
    for statement in (
        "CREATE TABLE mine (id int)",
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "DROP FUNCTION refuse_change CASCADE",
        "UPDATE alembic_version SET version_num = 'x'",
        "SELECT ledger_open_sums('ledger_entries', ledger_first_id(now()))",
    ):
        await refuses(served, statement, f"{DENIED}|does not exist")
    for statement in (
        "SELECT ledger_retire('usage_events', current_date)",
        "SELECT ledger_retire('ledger_entries', current_date - 100)",
        "SELECT ledger_partition('usage_events', current_date + 30)",
    ):
        await refuses(served, statement, "stays|case not found|so far ahead")


@pytest.mark.sqlite
def test_two_addresses_of_one_role_are_a_mistake(
    sqlite_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    (url,) = sqlite_database_url
    for name, value in {
        "GATEWAY_SECRET": SECRET, "DATABASE_URL": url, "GATEWAY_MIGRATION_DATABASE_URL": url,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(migrate)
    assert told.exit_code == 1
    assert "is for PostgreSQL" in (told.output or str(told.exception))


async def _in_thread(command) -> str:
    told = await asyncio.to_thread(CliRunner().invoke, command)
    assert told.exit_code == 0, told.output
    return told.output
