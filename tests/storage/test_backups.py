"""A backup is restored, and the books are whole: with `pg_dump`, and to a moment."""

import asyncio
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url

from gateway.control_plane.catalog import catalog
from gateway.control_plane.trail import verification
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.messages import UsageLine
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import invariants, partitions, postings
from gateway.storage.tables import accounts, metadata, usage_events
from testing import every_table, servers
from testing.ledger import NANOS_PER_TOKEN, Customer, add_credit, add_customer, running

_HASTY = EngineRules(commit_seconds=0.05, close_seconds=0.2, adopt_seconds=0.05)


def program(name: str, *words: str) -> None:
    done = subprocess.run(
        [*servers.postgres_command(name), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


async def counts(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }


async def is_sound(database: Database) -> None:
    async with database.read() as connection:
        assert await invariants.audit(connection) == []
        assert (await verification.verify(connection)).broken == {}


async def test_a_dump_is_restored(postgresql_database_url: list[str], tmp_path: Path):
    (url,) = postgresql_database_url
    database = Database(url)
    await partitions.maintain(database, retention_days=400)
    await every_table.fill(database)
    before = await counts(database)
    dump = str(tmp_path / "gateway.dump")
    await asyncio.to_thread(program, "pg_dump", "--format=custom", f"--file={dump}", url)
    name = f"{make_url(url).database}_restored"
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await database.close()
    restored = make_url(url).set(database=name)
    there = restored.render_as_string(hide_password=False)
    await asyncio.to_thread(
        program, "pg_restore", "--exit-on-error", "--single-transaction", f"--dbname={there}", dump
    )
    database = Database(restored)
    await migrate.check(database)
    assert await counts(database) == before
    await is_sound(database)
    await every_table.Books.fill(database)  # it goes on
    await is_sound(database)
    await database.close()


class Archived:
    """A server that archives its log, as the docs set one up."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "archive"
        self.archive.mkdir(mode=0o777)
        self.base = folder / "base"
        data = servers.initialise_postgres(folder)
        command = f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f"
        self.set(data, archive_mode="on", archive_command=command)
        self.port = servers.free_port()
        self.server = servers.start_postgres(data, self.port)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def set(data: Path, **settings: str) -> None:
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def back_up(self) -> None:
        address = f"--dbname=postgresql://postgres@127.0.0.1:{self.port}"
        program("pg_basebackup", address, f"--pgdata={self.base}", "--checkpoint=fast")
        program("pg_verifybackup", str(self.base))

    def crash(self) -> None:
        self.server.kill()
        self.server.wait()

    async def log_is_archived(self, database: Database) -> None:
        """Archive what is written so far, and wait until it is."""
        async with database.write() as connection:
            name = await connection.scalar(text("SELECT pg_walfile_name(pg_switch_wal())"))
        async with asyncio.timeout(30):
            while not (self.archive / name).exists():
                await asyncio.sleep(0.02)  # the archiver is a process of PostgreSQL

    def restore(self, target: datetime | None = None) -> str:
        settings = {"restore_command": f"cp {self.archive}/%f %p", "archive_mode": "off"}
        if target:
            settings |= {
                "recovery_target_time": target.isoformat(),
                "recovery_target_action": "promote",
            }
        self.set(self.base, **settings)
        (self.base / "recovery.signal").touch()
        self.port = servers.free_port()
        self.server = servers.start_postgres(self.base, self.port)
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"


@pytest.fixture
def archived(tmp_path: Path) -> Iterator[Archived]:
    tmp_path.chmod(0o777)
    folder = tmp_path / "server"
    folder.mkdir()
    made = Archived(folder)
    yield made
    made.crash()


async def use(engine: LeasedCredits, customer: Customer, *tokens: int) -> list[str]:
    made = []
    for count in tokens:
        charge = customer.charge(count)
        await engine.reserve(charge)
        await engine.settle(charge)
        made.append(charge.request_id)
    return made


@pytest.mark.long
async def test_a_moment_is_restored_and_journals_bring_what_came_later(
    archived: Archived, tmp_path: Path
):
    """Usage of who is known is charged once; usage of who came later is kept for a person."""
    journals = tmp_path / "journals"
    database = Database(archived.url)
    await migrate.upgrade(database)
    async with database.write() as connection:
        await catalog.seed(connection)
    await partitions.maintain(database, retention_days=400)
    old = await add_customer(database, 1_000)
    async with running(database, journals) as engine:
        await use(engine, old, 1, 2)
        await asyncio.to_thread(archived.back_up)
        before = await use(engine, old, 3)
    async with database.read() as connection:
        moment = await postings.database_now(connection)
    new = await add_customer(database, 1_000)
    async with running(database, journals, rules=_HASTY) as engine:
        await use(engine, old, 10)
        await use(engine, new, 20)
        await archived.log_is_archived(database)
        archived.crash()
        kept = await use(engine, old, 100)
        strange = await use(engine, new, 200)
    await database.close()

    database = Database(await asyncio.to_thread(archived.restore, moment))
    await is_sound(database)
    async with running(database, journals, rules=_HASTY), asyncio.timeout(30):
        while list(journals.glob("*/*.journal")):
            await asyncio.sleep(0.01)
    async with database.read() as connection:
        rows = (await connection.execute(select(usage_events))).all()
        balances = (await connection.execute(select(accounts.c.available_nanos))).scalars().all()
    charged = {row.request_id: row.charged_nanos // NANOS_PER_TOKEN for row in rows}
    assert charged.keys() >= {*before, *kept}
    assert sorted(charged.values()) == [1, 2, 3, 100]
    assert balances == [(1_000 - 106) * NANOS_PER_TOKEN]
    (aside,) = journals.glob("*/*.unreadable")
    lines = [msgspec.json.decode(line, type=UsageLine) for line in aside.read_bytes().splitlines()]
    assert [line.request_id for line in lines] == strange
    await is_sound(database)
    await database.close()


@pytest.mark.long
async def test_the_last_moment_is_restored_without_a_target(archived: Archived):
    database = Database(archived.url)
    await migrate.upgrade(database)
    customer = await add_customer(database, 1_000)
    await asyncio.to_thread(archived.back_up)
    await add_credit(database, customer, 7)
    await archived.log_is_archived(database)
    await database.close()
    archived.crash()
    database = Database(await asyncio.to_thread(archived.restore))
    async with database.read() as connection:
        balance = await connection.scalar(select(accounts.c.available_nanos))
    assert balance == 1_007 * NANOS_PER_TOKEN
    await is_sound(database)
    await database.close()
