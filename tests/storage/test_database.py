"""A transaction that is canceled anywhere leaves nothing behind: no row, and no lock."""

import asyncio

import pytest
from sqlalchemy import event, text

from gateway.storage.database import Database


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

    async with asyncio.timeout(2), database.write() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('kept')"))
    async with database.read() as connection:
        assert (await connection.scalars(text("SELECT words FROM notes"))).all() == ["kept"]


async def write_and_read(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('lost')"))
        await connection.execute(text("SELECT * FROM notes"))
        await connection.execute(text("SELECT * FROM notes"))
