"""Files of comma-separated values, for people who take a list into a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from litestar import Response

CSV_ROWS_MAX = 10_000
"""Most lines of a CSV: the newest."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would run."""


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
