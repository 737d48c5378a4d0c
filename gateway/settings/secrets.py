"""Secrets: read from files, and derived for each purpose."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.settings.declaring import SettingsError, variable


def from_files(
    environment: Mapping[str, str], secrets: Iterable[str], values: Mapping[str, str]
) -> dict[str, str]:
    """Read the secrets that are in files. Raises SettingsError."""
    found = {}
    for field in secrets:
        name = f"{variable(field)}_FILE"
        path = environment.get(name)
        if not path:
            continue
        if field in values:
            raise SettingsError(f"{name}: {variable(field)} is set too; use one of them")
        try:
            found[field] = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise SettingsError(f"{name}: {path} can't be read: {reason}") from None
    return found


def derive(secret: str, purpose: str) -> str:
    """Return the deployment's secret for one purpose, so that no two uses share a key."""
    return hmac.digest(secret.encode(), f"gateway|{purpose}".encode(), "sha256").hex()
