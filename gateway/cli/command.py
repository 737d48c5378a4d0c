"""What commands share: coroutines as commands, `--json`, spans of days and an open database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import ParamSpec

import rich_click as click

from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.migrate import check

P = ParamSpec("P")

_DAYS_MAX = 36_500  # a century

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
DAYS = click.IntRange(1, _DAYS_MAX)


def asynchronous(run: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Turn a coroutine function into a command."""

    @wraps(run)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(run(*args, **kwargs))  # type: ignore[arg-type]

    return command


@asynccontextmanager
async def opened() -> AsyncIterator[Database]:
    """Open the configured database and check its schema. Raises DatabaseError."""
    settings = Settings.from_environment()
    database = Database(settings.database_url, connections_max=2)
    try:
        await check(database)
        yield database
    finally:
        await database.close()


def in_days(days: int | None) -> datetime | None:
    """Return the time that many days from now; None for None."""
    return datetime.now(UTC) + timedelta(days=days) if days else None
