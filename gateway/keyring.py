"""The deployment's secret while it is rotated: the first one makes, all verify.

Each purpose has secrets of its own, derived from these, so that no two uses share a key.
"""

from __future__ import annotations

import hmac
from typing import Final, Self

SECRETS_MAX: Final = 4
"""Most secrets at a time: what can't be verified is tried under each."""
CHARACTERS_MIN: Final = 32
"""Shortest secret."""
_FINGERPRINT_CHARACTERS = 12


class Keyring:
    """One secret, and those before or after it that are still known."""

    __slots__ = ("all",)

    def __init__(self, *secrets: str) -> None:
        assert secrets, "a keyring has at least one secret"
        self.all: Final = secrets
        """The first makes."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a setting: secrets, one a line, or separated by commas.

        A part of a line that is too short for a secret belongs to one that has commas in it, as
        version 0.1 allowed.
        """
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if len(lines) > 1:
            return cls(*lines)
        parts = [part.strip() for part in text.split(",")]
        if all(len(part) >= CHARACTERS_MIN for part in parts):
            return cls(*parts)
        return cls(text)

    @property
    def first(self) -> str:
        """The secret that makes."""
        return self.all[0]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """A name of each secret, which gives nothing away."""
        return tuple(derive(secret, "fingerprint")[:_FINGERPRINT_CHARACTERS] for secret in self.all)

    def derive(self, purpose: str) -> Keyring:
        """Return the secrets for one purpose."""
        return Keyring(*(derive(secret, purpose) for secret in self.all))

    def digest(self, message: str) -> bytes:
        """Return the HMAC-SHA256 of a message under the first secret."""
        return _digest(self.all[0], message)

    def digests(self, message: str) -> tuple[bytes, ...]:
        """Return the HMAC-SHA256 of a message under each secret."""
        return tuple(_digest(secret, message) for secret in self.all)

    def prove(self, message: str) -> str:
        """Return a proof, in hex, that a message is ours."""
        return self.digest(message).hex()

    def accepts(self, message: str, proof: str) -> bool:
        """Whether a proof was made under one of the secrets."""
        given = proof.encode()
        return any(
            hmac.compare_digest(_digest(secret, message).hex().encode(), given)
            for secret in self.all
        )


def derive(secret: str, purpose: str) -> str:
    """Return the deployment's secret for one purpose, in hex."""
    return _digest(secret, f"gateway|{purpose}").hex()


def _digest(secret: str, message: str) -> bytes:
    return hmac.digest(secret.encode(), message.encode(), "sha256")
