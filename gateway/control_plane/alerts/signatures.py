"""Signatures of webhooks, as Standard Webhooks 1.0 has them, and the secrets that make them.

A secret is stored encrypted with a key of the deployment, and bound to its endpoint: copied into
another endpoint's row it can't be read. While a secret is being rotated, the old one signs too.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence

from gateway.errors import BadRequest
from gateway.keyring import Keyring
from gateway.sealing import Seal, Unsealable

PREFIX = "whsec_"

_SECRET_BYTES = 32


class SecretUnreadable(BadRequest):
    """The stored secret was encrypted under another GATEWAY_SECRET."""

    code = "webhook_secret_unreadable"


class SigningSecrets:
    """Makes secrets and encrypts them. `secret` is the deployment's for this purpose."""

    def __init__(self, secret: Keyring) -> None:
        self._seal = Seal(secret)

    def seal(self, endpoint_id: str, secret: str) -> bytes:
        """Encrypt an endpoint's secret."""
        return self._seal.close(secret, owner=endpoint_id)

    def unseal(self, endpoint_id: str, sealed: bytes) -> str:
        """Decrypt an endpoint's secret. Raises SecretUnreadable."""
        try:
            return self._seal.open(sealed, owner=endpoint_id)
        except Unsealable:
            raise SecretUnreadable(
                "The endpoint's secret can no longer be read. Rotate it and store the new one."
            ) from None


def mint() -> str:
    """Return a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def headers(signing: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message, with a signature for each secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in signing),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
