"""Signed receipts: what a request cost, verifiable by anyone with the published key.

`x-receipt` is two parts of unpadded base64url joined by a dot: a JSON object, and the Ed25519
signature (RFC 8032) of its bytes. The key is derived from the deployment's secret, so that all
processes sign alike, and is published as a JWK (RFC 8037).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.data_plane.metering.port import Charge
from gateway.identifiers import made_at_ms

_PURPOSE = b"stella-gateway receipts v1"


class ReceiptSigner:
    """Signs the receipts of one deployment."""

    def __init__(self, secret: str) -> None:
        seed = hmac.digest(secret.encode(), _PURPOSE, "sha256")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self._public).hexdigest()[:16]

    def sign(self, charge: Charge) -> str:
        """Return the receipt of a settled charge."""
        body = msgspec.json.encode(
            Receipt(
                request_id=charge.request_id,
                organization_id=charge.organization_id,
                key_id=charge.key_id,
                model_id=charge.model_id,
                price_id=charge.price_id,
                inputs=charge.inputs,
                tokens=charge.tokens,
                cost_nanos=str(charge.cost_nanos),
                created_ms=made_at_ms(charge.request_id),
            )
        )
        return f"{_encode(body)}.{_encode(self._key.sign(body))}"

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JWK."""
        return {
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.key_id,
            "x": _encode(self._public),
        }  # fmt: skip


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was charged for one answer. Money is in strings, since JSON numbers may be rounded."""

    request_id: str
    organization_id: str
    key_id: str
    model_id: str
    price_id: str
    inputs: int
    tokens: int
    cost_nanos: str
    created_ms: int
    """Unix time in milliseconds."""


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
