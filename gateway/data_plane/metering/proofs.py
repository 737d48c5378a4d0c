"""Checks receipts with only the public keys: no network, no database."""

from __future__ import annotations

import hashlib
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.data_plane.metering.merkle import root_of
from gateway.data_plane.metering.receipts import (
    PROOF,
    SIGNATURE_BYTES,
    Receipt,
    encode,
    key_id,
    statement,
)

_RECEIPT_CHARACTERS_MAX = 16_384


class InvalidReceipt(Exception):
    """A receipt that proves nothing; the text says why."""


class InTree(msgspec.Struct, frozen=True):
    """The root that a receipt leads to, and where in its tree the receipt is."""

    root_id: str
    index: int
    size: int
    previous: bytes
    root: bytes
    signature: bytes


class VerifiedReceipt(NamedTuple):
    """A receipt that one of the keys vouches for."""

    receipt: Receipt
    key_id: str
    tree: InTree | None
    """None: it is signed by itself."""


def verify(receipt: str, keys: Sequence[bytes]) -> VerifiedReceipt:
    """Check a receipt with the public keys it may be signed with. Raises InvalidReceipt."""
    if len(receipt) > _RECEIPT_CHARACTERS_MAX:
        raise InvalidReceipt("it is too long")
    first, dot, second = receipt.strip().partition(".")
    if not dot:
        raise InvalidReceipt("it has no dot: a receipt has two parts")
    body, proof = decode(first), decode(second)
    if len(proof) == SIGNATURE_BYTES:
        tree, signed, signature = None, body, proof
    else:
        tree = _tree(body, proof)
        signed = statement(tree.root_id, tree.size, tree.previous, tree.root)
        signature = tree.signature
    for key in keys:
        if is_signed(signed, signature, key):
            break
    else:
        raise InvalidReceipt("no key of this gateway signed it, or it was altered since")
    try:
        return VerifiedReceipt(msgspec.json.decode(body, type=Receipt), key_id(key), tree)
    except msgspec.MsgspecError as error:
        raise InvalidReceipt(f"it is signed, but of an unknown form: {error}") from error


def _tree(body: bytes, proof: bytes) -> InTree:
    if len(proof) < PROOF.size:
        raise InvalidReceipt("its second part is neither a signature nor a path")
    root_id, index, size, previous, signature = PROOF.unpack_from(proof)
    root = root_of(body, index=index, size=size, path=proof[PROOF.size :])
    if root is None:
        raise InvalidReceipt("its path leads to no root")
    return InTree(str(uuid.UUID(bytes=root_id)), index, size, previous, root, signature)


def is_signed(data: bytes, signature: bytes, public: bytes) -> bool:
    """Tell whether a key has signed the data."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def digest(root_id: str, size: int, previous: bytes, root: bytes) -> bytes:
    """Return the `previous` of the next root in a chain."""
    return hashlib.sha256(statement(root_id, size, previous, root)).digest()


def decode(text: str) -> bytes:
    """Decode unpadded base64url, in its one canonical form. Raises InvalidReceipt."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        data = b""
    if not data or encode(data) != text:
        raise InvalidReceipt("a part of it is not base64url")
    return data


def public_keys(document: bytes) -> list[bytes]:
    """Read a JWK set, or a single JWK. Raises InvalidReceipt if no key of ours is in it."""
    try:
        found = msgspec.json.decode(document, type=_Jwks)
        keys = found.keys or [msgspec.json.decode(document, type=_Jwk)]
    except msgspec.MsgspecError as error:
        raise InvalidReceipt(f"the key is no JWK set: {error}") from error
    ours = [decode(key.x) for key in keys if (key.kty, key.crv) == ("OKP", "Ed25519")]
    if not ours:
        raise InvalidReceipt("the JWK set has no Ed25519 key")
    return ours


class _Jwk(msgspec.Struct):
    kty: str
    crv: str = ""
    x: str = ""


class _Jwks(msgspec.Struct):
    keys: list[_Jwk] = []
