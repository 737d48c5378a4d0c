"""Secrets: read from files, and held against what can be guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gateway.keyring import CHARACTERS_MIN, SECRETS_MAX, Keyring
from gateway.settings.declaring import SettingsError, variable

FILE_BYTES_MAX = 65_536
"""Largest file of a secret."""
_DISTINCT_MIN = 10
"""How many characters of a secret differ at least, as those of 32 random bytes in hex do."""


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
        found[field] = _content(name, Path(path))
    return found


def mistakes(field: str, text: str) -> Iterator[str]:
    """Yield what is wrong with a secret of ours, or with the secrets of a list."""
    name, secrets = variable(field), Keyring.parse(text).all if text else ()
    if len(secrets) > SECRETS_MAX:
        yield f"{name} holds {len(secrets)} secrets, and at most {SECRETS_MAX} are tried"
    if len(set(secrets)) < len(secrets):
        yield f"{name} holds one secret twice"
    for secret in secrets:
        if len(secret) < CHARACTERS_MIN:
            yield f"{name} is too short: a secret has at least {CHARACTERS_MIN} characters"
        yield from guessable(field, secret)


def guessable(field: str, text: str) -> Iterator[str]:
    """Yield that a secret can be guessed, if it can."""
    if text and len(set(text)) < _DISTINCT_MIN:
        yield (
            f"{variable(field)} is easy to guess: it repeats a few characters. Make one with "
            "`gateway secrets generate`"
        )


def _content(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        text = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise SettingsError(f"{name}: {path} can't be read: {reason}") from None
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError(f"{name}: {path} is larger than {FILE_BYTES_MAX} bytes")
    if not text:
        raise SettingsError(f"{name}: {path} is empty")
    return text
