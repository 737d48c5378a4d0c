"""How nano-dollars are written for people: in one place, exactly."""

from __future__ import annotations


def money(nanos: int, decimals_min: int = 2) -> str:
    """Write nano-dollars as dollars, exactly, without needless zeros: 8_000_000 is $0.008."""
    whole, fraction = divmod(abs(nanos), 10**9)
    decimals = f"{fraction:09d}".rstrip("0").ljust(decimals_min, "0")
    return f"{'-' if nanos < 0 else ''}${whole:,}.{decimals}"
