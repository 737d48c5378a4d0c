"""Texts that are stored encrypted: signing secrets of webhooks, secrets of authenticator apps.

A text is bound to what it belongs to: copied into another row it can't be read.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class Unsealable(Exception):
    """A text was sealed under another secret, or for something else."""


class Seal:
    """Encrypts texts. `secret` is the deployment's for one purpose, in hex."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(bytes.fromhex(secret))

    def close(self, text: str, *, owner: str) -> bytes:
        """Encrypt a text for its owner, such as a row's id."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), owner.encode())

    def open(self, sealed: bytes, *, owner: str) -> str:
        """Decrypt a text of its owner. Raises Unsealable."""
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, text, owner.encode()).decode()
        except (InvalidTag, ValueError):
            raise Unsealable from None
