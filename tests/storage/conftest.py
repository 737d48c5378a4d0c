"""What the tests of storage share: a database as release 0.1.0 left it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.storage.database import Database
from testing import first_release


@pytest.fixture
async def first(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database that 0.1.0 left, of each kind."""
    # not the fixture's file, which is migrated already
    is_file = database_url.startswith("sqlite")
    url = f"sqlite:///{tmp_path}/first.db" if is_file else database_url
    database = Database(url)
    if not database.is_sqlite:
        async with database.engine.begin() as connection:
            await connection.execute(text("DROP SCHEMA public CASCADE"))
            await connection.execute(text("CREATE SCHEMA public"))
    await first_release.restore(url)
    yield database
    await database.close()
