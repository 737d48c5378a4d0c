"""Tiles: a number with what it is, how it changed, and a line of how it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

_WIDTH, _HEIGHT = 100.0, 20.0

Tone = Literal["", "good", "bad"]


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One number. `line` are the points of an SVG line, `href` is where its rows are."""

    name: str
    value: str
    note: str = ""
    tone: Tone = ""
    line: str = ""
    href: str = ""


def sparkline(values: Sequence[int]) -> str:
    """Return the points of a line through values, the first at the left; empty for fewer than 2."""
    if len(values) < 2:
        return ""
    top = max(*values, 1)
    step = _WIDTH / (len(values) - 1)
    return " ".join(
        f"{at * step:.1f},{_HEIGHT - max(value, 0) * _HEIGHT / top:.1f}"
        for at, value in enumerate(values)
    )


def change(now: int, before: int, *, more: Tone = "") -> tuple[str, Tone]:
    """Tell the change from one number to another in percent, and its tone if more is `more`."""
    if before <= 0 or now == before:
        return "", ""
    percent = (now - before) * 100 // before
    opposite: dict[Tone, Tone] = {"good": "bad", "bad": "good", "": ""}
    return f"{percent:+d}%", more if now > before else opposite[more]
