"""How a setting is declared: its variable, its kind, its sentence, and whether it is a secret."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

_UNPREFIXED = ("database_url", "redis_url")


class SettingsError(Exception):
    """An environment variable is missing or out of bounds."""


Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]

SECRET = Meta(extra={"secret": True})
"""Marks a setting that may come from a file: the variable NAME_FILE holds its path."""


def text(description: str) -> Meta:
    """Return the sentence that docs/settings.md shows."""
    return Meta(description=description)


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field in _UNPREFIXED else f"GATEWAY_{field.upper()}"
