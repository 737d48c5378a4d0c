"""Lists: pages that follow one another by the last line's key, and the same lines as CSV.

A page is read by key, never by number: `?before=KEY` continues below a line, however long the list
is. Every filter is in the address, so that a list can be sent to someone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from litestar import Response

Row = TypeVar("Row")

ROWS = 50
"""Lines of a page."""
CSV_ROWS_MAX = 10_000
"""Most lines of a CSV: the newest."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would run."""


class Keyset(msgspec.Struct, Generic[Row], frozen=True, kw_only=True):
    """One page of a list: its lines, and the addresses of other pages; empty: there is none."""

    rows: list[Row]
    first: str
    older: str
    csv: str


def keyset(
    path: str,
    filters: Mapping[str, str],
    rows: Sequence[Row],
    key: Callable[[Row], Any],
    *,
    before: Any = None,
    limit: int = ROWS,
) -> Keyset[Row]:
    """Make a page from at most `limit + 1` rows: one more than it shows tells of another page.

    `filters` are what the address says, without `before`; empty ones are left out.
    """
    kept = {name: value for name, value in filters.items() if value}
    more = len(rows) > limit
    return Keyset(
        rows=list(rows[:limit]),
        first=address(path, kept) if before not in {None, ""} else "",
        older=address(path, {**kept, "before": str(key(rows[limit - 1]))}) if more else "",
        csv=address(path, {**kept, "format": "csv"}) if rows else "",
    )


def address(path: str, fields: Mapping[str, str]) -> str:
    """Return a path with a query."""
    return f"{path}?{urlencode(fields)}" if fields else path


def as_csv(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response[str]:
    """Answer with a file of comma-separated values. What a spreadsheet would run is quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return Response(
        text.getvalue(),
        media_type="text/csv",  # Litestar adds the charset
        headers={"content-disposition": f'attachment; filename="{name}.csv"'},
    )


def _cell(value: Any) -> Any:
    """Write a value; a text that begins as a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
