"""Files of comma-separated values, for people who take a list into a spreadsheet.

A long list is read and written a few hundred lines at a time, so that it takes little memory and
never holds up the rest of the process.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from litestar import Response
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database

Row = TypeVar("Row")

CSV_ROWS_MAX = 10_000
"""Most lines in a CSV file; a longer list has its newest."""
_ROWS_AT_ONCE = 500

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would run."""


async def export(
    database: Database,
    name: str,
    columns: Sequence[str],
    read: Callable[[AsyncConnection, Row | None, int], Awaitable[Sequence[Row]]],
    cells: Callable[[Row], Sequence[Any]],
) -> Stream:
    """Answer with a list as CSV.

    `read(connection, last, limit)` returns up to `limit` rows after the row `last`, or the first
    ones for None. What it raises for the first rows is raised here; a later error ends the
    connection.
    """

    async def page(last: Row | None, left: int) -> Sequence[Row]:
        async with database.read() as connection:
            return await read(connection, last, min(left, _ROWS_AT_ONCE))

    async def pieces(rows: Sequence[Row]) -> AsyncIterator[str]:
        yield _lines([columns])
        left = CSV_ROWS_MAX
        while rows:
            yield _lines(map(cells, rows))
            left -= len(rows)
            is_last = len(rows) < _ROWS_AT_ONCE or left <= 0
            rows = () if is_last else await page(rows[-1], left)

    first = await page(None, CSV_ROWS_MAX)
    return Stream(pieces(first), media_type="text/csv", headers=_head(name))


def as_csv(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response[str]:
    """Answer with a short list as CSV."""
    text = _lines([columns]) + _lines(rows)
    return Response(text, media_type="text/csv", headers=_head(name))  # Litestar adds the charset


def _head(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}.csv"'}


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    """Write rows; what a spreadsheet would run is quoted."""
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Write a value; a text that begins as a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
