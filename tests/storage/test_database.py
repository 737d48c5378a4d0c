"""Transactions: canceled ones leave neither a row nor a lock, and SQLite's writers take turns."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError

from gateway.storage.database import Database, DatabaseAway, refuses
from gateway.storage.own_connection import OwnConnection


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'turns.db'}")
    yield opened
    await opened.close()


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_canceled_transaction_lets_others_write(database: Database, number: int):
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE notes (words TEXT)"))
    reached = 0

    def cancel(*_: object) -> None:
        nonlocal reached
        reached += 1
        if reached == number:
            task = asyncio.current_task()
            assert task
            task.cancel()

    event.listen(database.engine.sync_engine, "before_cursor_execute", cancel)
    with pytest.raises(asyncio.CancelledError):
        await write_and_read(database)
    event.remove(database.engine.sync_engine, "before_cursor_execute", cancel)

    async with asyncio.timeout(20), database.write() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('kept')"))
    async with database.read() as connection:
        assert (await connection.scalars(text("SELECT words FROM notes"))).all() == ["kept"]


async def write_and_read(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('lost')"))
        await connection.execute(text("SELECT * FROM notes"))
        await connection.execute(text("SELECT * FROM notes"))


async def test_sqlites_writers_take_turns_in_the_order_in_which_they_came(sqlite: Database):
    order = list[int]()

    async def write(number: int) -> None:
        async with sqlite.write():
            order.append(number)

    async with sqlite.write():
        waiting = [asyncio.create_task(write(number)) for number in range(12)]
        # long enough that writers who poll the file would sleep for different times
        await asyncio.wait(waiting, timeout=0.2)
        assert order == []
    await asyncio.gather(*waiting)

    assert order == list(range(12))


async def test_a_writer_waits_for_its_turn_for_some_time_only(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.storage.database._BUSY_SECONDS", 0.01)
    async with sqlite.write():
        with pytest.raises(DatabaseAway, match="took too long"):
            async with sqlite.write():
                pass

    async with asyncio.timeout(20), sqlite.write():  # and it leaves the turn to others
        pass


async def test_a_connection_that_the_server_closed_while_it_rested_is_replaced(
    postgresql_database_url: list[str],
):
    database, other = [Database(postgresql_database_url[0]) for _ in range(2)]
    query = text("SELECT pg_backend_pid()")
    try:
        async with database.read() as connection:
            pid = await connection.scalar(query)
            resting = (await connection.get_raw_connection()).driver_connection
        async with other.write() as killer:
            await killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        assert resting
        while not resting.is_closed():  # the loop has yet to see it
            await asyncio.sleep(0)
        async with database.read() as connection:
            assert await connection.scalar(query) != pid
    finally:
        await database.close()
        await other.close()


class Told(Exception):
    """An error of PostgreSQL's."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (Told("23514"), True),  # a constraint
        (Told("22003"), True),  # a number out of range
        (Told("P0001"), True),  # a rule of ours
        (Told("21000"), True),  # one row twice
        (DBAPIError("", {}, Told("23505")), True),
        (sqlite3.IntegrityError(), True),
        (AssertionError(), True),
        (Told("40P01"), False),  # a deadlock
        (Told("40001"), False),
        (Told("55P03"), False),  # a lock
        (Told("57014"), False),  # too late
        (Told("25006"), False),  # read-only, as during a failover
        (Told("53300"), False),
        (DBAPIError("", {}, Told("08006")), False),
        (sqlite3.OperationalError("database is locked"), False),
        (TimeoutError(), False),
        (ConnectionError(), False),
    ],
)
def test_refusing_is_not_being_away(error: Exception, is_refused: bool):
    assert refuses(error) == is_refused


@pytest.mark.parametrize(
    "of",
    [
        "postgresql://{user}@/{name}?host={dead}&host={host}:{port}&host={dead}",
        "postgresql://{user}@/{name}?host=127.0.0.1,{host}&port=1,{port}&sslmode=disable",
        "postgresql://{user}@{host}:{port}/{name}?ssl=disable",
    ],
)
async def test_an_address_may_name_several_hosts_and_tls_in_either_dialect(
    postgresql_database_url: list[str], of: str
):
    at = make_url(postgresql_database_url[0])
    url = of.format(
        user=at.username, name=at.database, host=at.host, port=at.port, dead="127.0.0.1:1"
    )
    database = Database(url)
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    own = OwnConnection(database, {"application_name": "of its own"})
    asked = await own.prepared("SELECT current_setting('application_name')")
    assert await asked.fetchval() == "of its own"
    await own.close()
    await database.close()
