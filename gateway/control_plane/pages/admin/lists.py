"""Lists: pages that follow one another by the last line's key, and the same lines as CSV.

A page is read by key, never by number: `?before=KEY` continues below a line, however long the list
is. Every filter is in the address, so that a list can be sent to someone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.control_plane.web.csv_files import as_csv, export

__all__ = ["ROWS", "Keyset", "address", "as_csv", "export", "keyset"]

Row = TypeVar("Row")

ROWS = 50
"""Lines of a page."""


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
