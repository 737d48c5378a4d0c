"""Identifiers: UUIDv7 (RFC 9562), so that rows sort and partition by when they were made.

Their time is the deployment's, not the machine's: see wall.py.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from uuid import UUID

from gateway import wall

_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit that holds the variant, and two random bits."""


def new_id() -> str:
    """Return a fresh UUIDv7 in its canonical form: 60 bits of time, 62 random bits.

    The time is in milliseconds and 4096ths of one, so that what one process makes sorts in order.
    """
    milliseconds, rest = divmod(time.monotonic_ns() + wall.ahead_ns, 1_000_000)
    made = f"{milliseconds:012x}{rest * 4096 // 1_000_000:03x}"
    random = os.urandom(8).hex()
    variant = _VARIANTS[random[0]]
    return f"{made[:8]}-{made[8:12]}-7{made[12:]}-{variant}{random[1:4]}-{random[4:]}"


def bytes_of(identifier: str) -> bytes:
    """Return the 16 bytes of an identifier in its canonical form."""
    return bytes.fromhex(identifier.replace("-", ""))


def made_at_ms(identifier: str) -> int:
    """Return when a UUIDv7 was made, in Unix milliseconds."""
    return int(identifier[:8] + identifier[9:13], 16)


def first_id(moment: datetime) -> str:
    """Return the lowest id that could be made at a moment: those made later are above it."""
    text = f"{int(moment.timestamp() * 1_000):012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def is_id(text: str) -> bool:
    """Tell whether a text is an identifier in its canonical form: others PostgreSQL won't take."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
