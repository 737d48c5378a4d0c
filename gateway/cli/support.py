"""What the commands share: coroutines as commands, `--json`, and an open database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import ParamSpec

import rich_click as click

from gateway.settings import Settings
from gateway.storage import migrate as schema
from gateway.storage.database import Database

P = ParamSpec("P")

_DAYS_MAX = 36_500
"""A century: who wants longer wants no end."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
DAYS = click.IntRange(1, _DAYS_MAX)


def asynchronous(run: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a command of a coroutine."""

    @wraps(run)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(run(*args, **kwargs))  # type: ignore[arg-type]

    return command


@asynccontextmanager
async def opened() -> AsyncIterator[Database]:
    """Give the database, after making sure that its schema is this version's."""
    settings = Settings.from_environment()
    database = Database(settings.database_url, connections_max=2)
    try:
        await schema.check(database)
        yield database
    finally:
        await database.close()


def in_days(days: int | None) -> datetime | None:
    """Return the moment so many days from now."""
    return datetime.now(UTC) + timedelta(days=days) if days else None
