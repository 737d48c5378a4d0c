"""Identifiers: UUIDv7 (RFC 9562), so that rows sort and partition by when they were made."""

from __future__ import annotations

import secrets
import time
from datetime import datetime
from uuid import UUID


def new_id() -> str:
    """Return a fresh UUIDv7 in its canonical form: 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = (
        milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


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
