"""What commands share: output, coroutines as commands, `--json`, and an open database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import rich_click as click

from gateway.money import encode, money
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.storage.database import Database


def show(
    value: Any, *, as_json: bool, title: str = "", columns: Sequence[str] | None = None
) -> None:
    """Print a struct or a list of structs. `columns` selects and orders the fields of a table."""
    if as_json:
        sys.stdout.write(encode(value).decode() + "\n")
        return
    rows = value if isinstance(value, list) else [value]
    if not rows:
        say(f"No {title or 'rows'}.")
        return
    names = list(columns or rows[0].__struct_fields__)
    cells = [[_text(getattr(row, name), name) for name in names] for row in rows]
    if title:
        say(title)
    for line in _aligned([[_heading(name) for name in names], *cells]):
        say(line)


def say(text: str) -> None:
    """Print a line for people."""
    print(text, flush=True)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, with its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _heading(name: str) -> str:
    """Return a column's heading, without `nanos`: tables show amounts in dollars."""
    return name.removesuffix("_nanos").replace("_", " ")


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
    async with _opened(is_patient=False) as database:
        yield database


@asynccontextmanager
async def patient() -> AsyncIterator[Database]:
    """Open the configured database for statements that may take long; see `opened`."""
    async with _opened(is_patient=True) as database:
        yield database


@asynccontextmanager
async def _opened(*, is_patient: bool) -> AsyncIterator[Database]:
    from gateway.storage.database import Database  # noqa: PLC0415 - not for those that only print
    from gateway.storage.schema import check  # noqa: PLC0415

    settings = Settings.from_environment()
    database = Database(settings.database_url, connections_max=2, is_patient=is_patient)
    try:
        await check(database)
        yield database
    finally:
        await database.close()


def in_days(days: int | None) -> datetime | None:
    """Return the time that many days from now; None for None."""
    return datetime.now(UTC) + timedelta(days=days) if days else None
