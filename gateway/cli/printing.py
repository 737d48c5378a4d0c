"""Output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.money import encode, money

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
