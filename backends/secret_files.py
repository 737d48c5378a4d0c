"""Secrets from the environment, or from files: a variable X_FILE holds the path of X's file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FILE_BYTES_MAX = 65_536
"""Largest file that may hold a secret."""


class SecretFileError(ValueError):
    """A secret's file can't be used; the text names the variable and says why."""


def read_secret(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a secret, without white space around a file's text; empty if there is none.

    Raises SecretFileError if both variables are set, or if the file can't be read, is empty or too
    large.
    """
    name, path = f"{variable}_FILE", environment.get(f"{variable}_FILE", "")
    if not path:
        return environment.get(variable, "")
    if environment.get(variable):
        raise SecretFileError(f"{name}: {variable} is set too; use one of them")
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        found = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise SecretFileError(f"{name}: {path} can't be read: {reason}") from None
    if len(content) > FILE_BYTES_MAX:
        raise SecretFileError(f"{name}: {path} is larger than {FILE_BYTES_MAX} bytes")
    if not found:
        raise SecretFileError(f"{name}: {path} is empty")
    return found
