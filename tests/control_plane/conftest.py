"""The whole application in this process, on a fresh SQLite database."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import Row

from gateway.app import build
from gateway.app.process import Process
from gateway.settings import Settings
from testing.browsing import Browser

STELLA = "NovaSearch/stella_en_400M_v5"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def options() -> dict[str, Any]:
    """Settings that a test wants different; override it beside the test."""
    return {}


@pytest.fixture
def where(sqlite_database_url: list[str]) -> str:
    """Where the application keeps its data; a module that asks for both databases overrides it."""
    return sqlite_database_url[0]


@pytest.fixture
async def gateway(where: str, options: dict[str, Any]) -> AsyncIterator[Process]:
    # patient with keys, so that a slow machine is no database that hangs
    usual = {"dev_mail": True, "key_wait_seconds": 60.0}
    settings = Settings(secret="s" * 32, database_url=where, **usual | options)
    made = build(settings)
    # not the application's own lifespan: its cancel scope must end in the task that began it, and
    # pytest-asyncio runs the two halves of a fixture in two tasks
    async with made.running():
        yield made


@pytest.fixture
def app(gateway: Process) -> Litestar:
    return gateway.app


@pytest.fixture
async def browser(app: Litestar) -> AsyncIterator[Browser]:
    opened = Browser(app)
    yield opened
    await opened.close()


async def rows(gateway: Process, query) -> Sequence[Row]:
    """Return what a query finds in the application's database."""
    async with gateway.core.database.read() as connection:
        return (await connection.execute(query)).all()


@pytest.fixture
def pages_folder() -> Path:
    return Path(__file__).parents[2] / "gateway" / "control_plane"
