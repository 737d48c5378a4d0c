"""Writes structs as TOML, in the form of the data files, for people to edit and send back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

_BARE = re.compile("[A-Za-z0-9_-]+")
_LINE_MAX = 100


def written(struct: msgspec.Struct) -> str:
    """Return a struct's fields as TOML; empty ones and those that are None are left out."""
    fields = msgspec.to_builtins(struct, builtin_types=(date,), str_keys=True)
    lines, tables = [], []
    for name, value in fields.items():
        if value is None or value in ("", [], (), {}):
            continue
        if isinstance(value, Mapping):
            tables.append(f"\n[{_key(name)}]")
            tables += _pairs(value)
        else:
            lines.append(f"{_key(name)} = {_value(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | date):
        return str(value)
    if isinstance(value, list | tuple):
        items = [_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        if len(line) <= _LINE_MAX:
            return line
        return "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_pairs(value))} }}"
    assert isinstance(value, str)
    # a JSON string is a TOML string, except for DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(item)}" for key, item in table.items() if item is not None]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
