"""How nano-dollars are written, for people and for programs: in one place, exactly."""

from __future__ import annotations

from typing import Any

import msgspec

NANOS_PER_CENT = 10_000_000
MINUS = "\N{MINUS SIGN}"


class Nanos(int):
    """Nano-dollars in an answer of the API, where they are a string: a float would round them."""


def money(nanos: int, decimals_min: int = 2) -> str:
    """Write nano-dollars as dollars, exactly, without needless zeros: 8_000_000 is $0.008."""
    whole, fraction = divmod(abs(nanos), 10**9)
    decimals = f"{fraction:09d}".rstrip("0").ljust(decimals_min, "0")
    return f"{MINUS if nanos < 0 else ''}${whole:,}.{decimals}"


def decimal(nanos: int) -> str:
    """Write nano-dollars as dollars for programs, always with nine decimals."""
    whole, fraction = divmod(abs(nanos), 10**9)
    return f"{'-' if nanos < 0 else ''}{whole}.{fraction:09d}"


def _string(value: Any) -> str:
    if isinstance(value, Nanos):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


encode = msgspec.json.Encoder(enc_hook=_string).encode
"""Write an answer as JSON, each `Nanos` in it as a string."""
