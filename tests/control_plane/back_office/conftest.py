"""A database on SQLite: what operators do has no SQL of its own."""

from collections.abc import AsyncIterator

import pytest

from gateway.storage.database import Database


@pytest.fixture
async def books(sqlite_database_url: list[str]) -> AsyncIterator[Database]:
    opened = Database(sqlite_database_url[0])
    yield opened
    await opened.close()
