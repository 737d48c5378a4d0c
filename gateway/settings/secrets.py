"""Secrets: read from files, and held against what can be guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from backends.secret_files import SecretFileError, read_secret
from gateway.keyring import CHARACTERS_MIN, SECRETS_MAX, Keyring
from gateway.settings.declaring import SettingsError, variable

_DISTINCT_MIN = 10
"""How many characters of a secret differ at least, as those of 32 random bytes in hex do."""


def read_secrets(environment: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """Return those of the secrets that are set, or that a file holds. Raises SettingsError."""
    try:
        found = {field: read_secret(variable(field), environment) for field in secrets}
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    return {field: secret for field, secret in found.items() if secret}


def mistakes(field: str, text: str) -> Iterator[str]:
    """Yield what is wrong with a secret of ours, or with the secrets of a list."""
    name, secrets = variable(field), Keyring.parse(text).all if text else ()
    if len(secrets) > SECRETS_MAX:
        yield f"{name} holds {len(secrets)} secrets; at most {SECRETS_MAX} are allowed"
    if len(set(secrets)) < len(secrets):
        yield f"{name} holds the same secret twice"
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
