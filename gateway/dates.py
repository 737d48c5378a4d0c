"""How dates and times are written for people, on pages and in emails: in one place, in UTC."""

from __future__ import annotations

from datetime import date, datetime


def day_text(value: date) -> str:
    """Write a date: 5 Jul 2025."""
    return f"{value.day} {value:%b %Y}"


def short_day_text(value: date) -> str:
    """Write a date whose year is plain: 5 Jul."""
    return f"{value.day} {value:%b}"


def moment_text(value: datetime) -> str:
    """Write a time: 5 Jul 2025, 14:03 UTC."""
    return f"{day_text(value)}, {value:%H:%M} UTC"
