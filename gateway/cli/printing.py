"""What commands share: their output, coroutines as commands, `--json`, and an open database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec

import rich_click as click
from rich.console import Console
from rich.table import Table

from gateway.money import encode, money
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.migrate import check

# piped output must not be cut to the width of a terminal
_console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 250)


def show(
    value: Any, *, as_json: bool, title: str = "", columns: Sequence[str] | None = None
) -> None:
    """Print a struct or a list of structs. `columns` selects and orders the fields of a table."""
    if as_json:
        sys.stdout.write(encode(value).decode() + "\n")
        return
    rows = value if isinstance(value, list) else [value]
    if not rows:
        _console.print(f"No {title or 'rows'}.")
        return
    names = list(columns or rows[0].__struct_fields__)
    table = Table(*names, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_text(getattr(row, name), name) for name in names))
    _console.print(table)


def say(text: str) -> None:
    """Print a line for people."""
    _console.print(text, markup=False)


def _text(value: Any, name: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, int) and name.endswith("_nanos"):
        return money(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)


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
