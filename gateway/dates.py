"""How dates and times are written for people, on pages and in emails: in one place, in UTC."""

from __future__ import annotations

from datetime import date, datetime

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not those of the machine's language, nor asked of it for each of a page's hundred dates."""


def day_text(value: date) -> str:
    """Write a date: 5 Jul 2025."""
    return f"{short_day_text(value)} {value.year}"


def short_day_text(value: date) -> str:
    """Write a date whose year is plain: 5 Jul."""
    return f"{value.day} {_MONTHS[value.month - 1]}"


def moment_text(value: datetime) -> str:
    """Write a time: 5 Jul 2025, 14:03 UTC."""
    return f"{day_text(value)}, {value:%H:%M} UTC"
