"""Everything moves from SQLite to PostgreSQL, once, and only while nobody uses either."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.engine import make_url

from gateway.control_plane.trail import verification
from gateway.storage import relocation
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from gateway.storage.relocation import InUse, NotEmpty, NotEqual
from gateway.storage.tables import (
    book_entries,
    ledger_entries,
    metadata,
    organizations,
    usage_events,
)
from testing import every_table

UNMOVED = {"alembic_version"}
"""Tables that are of a database itself."""
_READER = """
import sqlite3, sys
sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM users").fetchall()
print("open", flush=True)
input()"""


@pytest.fixture
async def target(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    database = Database(postgresql_database_url[0], is_patient=True)
    yield database
    await database.close()


@pytest.fixture
def path(sqlite_database_url: list[str]) -> Path:
    return Path(str(make_url(sqlite_database_url[0]).database))


async def fill(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    await every_table.fill(database)
    await database.close()


async def move(path: Path, target: Database) -> dict[str, int]:
    with relocation.locked(make_url(f"sqlite:///{path}")) as source:
        async with relocation.moved(source, target) as (_, tables):
            return {table.name: table.rows for table in tables}


async def test_every_table_arrives(path: Path, target: Database):
    await fill(path)
    moved = await move(path, target)
    assert set(moved) == set(metadata.tables)
    assert [name for name, rows in moved.items() if not rows] == []
    async with target.read() as connection:
        names = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        parents = text(
            "SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p')"
        )
        partitions = set(await connection.scalars(parents))
        assert names - partitions - UNMOVED == set(metadata.tables)
        for table in metadata.sorted_tables:
            count = await connection.scalar(select(func.count()).select_from(table))
            assert count == moved[table.name], table.name
    async with target.read() as connection:
        assert await invariants.audit(connection) == []
        assert (await verification.verify(connection)).broken == {}
    await goes_on(target)


async def goes_on(target: Database) -> None:
    """Numbers go on; usage is numbered as it came, and lies in the partitions of its days."""
    async with target.write() as connection:
        for table in (ledger_entries, book_entries):
            newest = await connection.scalar(select(func.max(table.c.id)))
            sequence = func.pg_get_serial_sequence(table.name, "id")
            assert await connection.scalar(select(func.nextval(sequence))) == newest + 1
        positions = list(await connection.scalars(select(usage_events.c.position)))
        assert sorted(positions) == list(range(1, len(positions) + 1))
        rest = await connection.scalar(text("SELECT count(*) FROM usage_events_rest"))
        assert rest == 0
    await every_table.Books.fill(target)
    async with target.read() as connection:
        assert await invariants.audit(connection) == []


async def test_a_move_that_fails_leaves_nothing_and_is_started_again(
    path: Path, target: Database, monkeypatch: pytest.MonkeyPatch
):
    await fill(path)

    async def breaks(*_: object) -> None:
        raise ConnectionError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(relocation.invariants, "check", breaks)
        with pytest.raises(ConnectionError):
            await move(path, target)
    async with target.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(organizations)) == 0
    assert (await move(path, target))["organizations"] > 0
    with pytest.raises(NotEmpty):
        await move(path, target)


async def test_a_row_that_changes_on_its_way_is_noticed(path: Path, target: Database):
    await fill(path)
    async with target.write() as connection:
        await connection.execute(
            text(
                "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN NEW.words := 'other'; RETURN NEW; END $$"
            )
        )
        await connection.execute(
            text(
                "CREATE TRIGGER spoil BEFORE INSERT ON trail_words "
                "FOR EACH ROW EXECUTE FUNCTION spoil()"
            )
        )
    with pytest.raises(NotEqual, match="trail_words"):
        await move(path, target)


async def test_books_that_disagree_are_not_moved(path: Path, target: Database):
    await fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE accounts SET spent_nanos = spent_nanos + 1")
    connection.close()
    with pytest.raises(NotEqual, match="spent-equals-ledger"):
        await move(path, target)


async def test_whoever_has_the_file_open_is_in_the_way(path: Path, target: Database):
    """However idle: a gateway without requests holds no lease."""
    await fill(path)
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _READER, path, stdin=PIPE, stdout=PIPE
    )
    assert reader.stdout
    assert await reader.stdout.readline() == b"open\n"
    try:
        with pytest.raises(InUse):
            await move(path, target)
    finally:
        await reader.communicate(b"\n")
    assert await move(path, target)


async def test_leases_and_journals_are_settled_first(path: Path):
    database = Database(f"sqlite:///{path}")
    books = await every_table.Books.fill(database)
    journals = path.parent / "journals"
    await database.close()

    def settled() -> None:
        with relocation.locked(make_url(f"sqlite:///{path}")) as source:
            relocation.must_be_settled(source, journals)

    with pytest.raises(InUse, match="leases are open"):
        settled()
    await books.close()
    await database.close()
    settled()
    (journals / "one").mkdir(parents=True)
    (journals / "one" / "00000001.journal").touch()
    with pytest.raises(InUse, match="not in the database yet"):
        settled()
