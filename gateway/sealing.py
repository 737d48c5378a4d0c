"""Texts that are stored encrypted: signing secrets of webhooks, secrets of authenticator apps.

A text is bound to what it belongs to: copied into another row it can't be read.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.keyring import Keyring

_NONCE_BYTES = 12


class Unsealable(Exception):
    """A text was sealed under another secret, or for something else."""


class Seal:
    """Encrypts texts under the first secret, and decrypts them under all.

    `keyring` is the deployment's for one purpose, in hex.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._ciphers = [AESGCM(bytes.fromhex(secret)) for secret in keyring.all]

    def close(self, text: str, *, owner: str) -> bytes:
        """Encrypt a text for its owner, such as a row's id."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, text.encode(), owner.encode())

    def open(self, sealed: bytes, *, owner: str) -> str:
        """Decrypt a text of its owner. Raises Unsealable."""
        return self._open(sealed, owner)[0]

    def sealed_by(self, sealed: bytes, *, owner: str) -> int | None:
        """Return which of the secrets sealed a text, 0 for the first; None for another."""
        try:
            return self._open(sealed, owner)[1]
        except Unsealable:
            return None

    def _open(self, sealed: bytes, owner: str) -> tuple[str, int]:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        for index, cipher in enumerate(self._ciphers):
            try:
                return cipher.decrypt(nonce, text, owner.encode()).decode(), index
            except (InvalidTag, ValueError):
                continue
        raise Unsealable
