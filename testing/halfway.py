"""`python -m testing.halfway URL N`: migrates, and is killed before the Nth statement that counts.

On PostgreSQL those count that are in no transaction, which alone leave something behind. On SQLite
every statement counts.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from typing import Any

from sqlalchemy import Connection, Engine, event

from gateway.storage import migrate
from gateway.storage.database import Database


def main(url: str, last: int) -> None:
    """Migrate, or be killed."""
    numbers = itertools.count(1)

    def count(connection: Connection, *_: Any) -> None:
        is_alone = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        counts = is_alone or connection.dialect.name == "sqlite"
        if counts and next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    asyncio.run(_migrate(url))


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate.upgrade(database)
    await database.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
