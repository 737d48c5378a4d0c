"""Receipts: what a request cost, verifiable by anyone with the published key.

`x-receipt` is two parts of unpadded base64url joined by a dot. The first is a JSON object, the
Receipt. The second is its proof, and has one of two forms:

- 64 bytes: an Ed25519 signature (RFC 8032) of the first part's bytes. Requests that the journal
  acknowledged, or that were settled while a tick went unanswered, are signed like this.
- more: the receipt is a leaf of the Merkle tree of its tick. The proof is the root's id (16 bytes),
  the leaf's index and the number of leaves (4 bytes each, big endian), the digest of the root
  before (32), the signature of the root's statement (64), and the path from the leaf to the root
  (32 each).

The statement of a root is `STATEMENT`, then its id, the number of leaves, the digest of the
statement before in this process's chain (zeros for the first), and the root. Its row is written by
the tick that charges its leaves, and read at /v1/receipts/roots.

The keys are derived from the deployment's secrets, so that all processes sign alike.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Final

import msgspec
import pybase64
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.data_plane.metering.merkle import Tree
from gateway.data_plane.metering.messages import RootLine, UsageLine
from gateway.identifiers import bytes_of, new_id

STATEMENT: Final = b"gateway receipts root v1\n"
PROOF: Final = struct.Struct(">16sII32s64s")
"""What comes before the path: id, index, size, digest of the root before, signature."""
SIGNATURE_BYTES: Final = 64
FIRST: Final = bytes(32)
"""Stands for the digest before the first root of a chain."""
_PURPOSE = b"stella-gateway receipts v1"


class ReceiptSigner:
    """The keys of one deployment's receipts: the first signs."""

    def __init__(self, *secrets: str) -> None:
        keys = [
            Ed25519PrivateKey.from_private_bytes(hmac.digest(secret.encode(), _PURPOSE, "sha256"))
            for secret in secrets
        ]
        self._key = keys[0]
        self.publics = tuple(key.public_key().public_bytes_raw() for key in keys)
        """All public keys, the signing one first; upcoming ones are published in advance."""
        self.public = self.publics[0]
        self.key_id = key_id(self.public)

    def sign(self, line: UsageLine) -> str:
        """Return a receipt that is signed by itself."""
        body = _body(line)
        return f"{encode(body)}.{encode(self._key.sign(body))}"

    def begin(self, lines: Sequence[UsageLine], *, previous: bytes) -> Batch:
        """Make the tree of a tick, and sign its root after the digest of the root before."""
        bodies = [_body(line) for line in lines]
        tree = Tree(bodies)
        root_id = new_id()
        stated = statement(root_id, len(bodies), previous, tree.root)
        root = RootLine(
            id=root_id,
            size=len(bodies),
            root=tree.root,
            previous=previous,
            key_id=self.key_id,
            key=self.public,
            signature=self._key.sign(stated),
        )
        return Batch(root, bodies, tree, hashlib.sha256(stated).digest())


class Batch:
    """The receipts of one tick, each made when it is asked for."""

    __slots__ = ("_after", "_before", "_bodies", "_tree", "digest", "root")

    def __init__(self, root: RootLine, bodies: list[bytes], tree: Tree, digest: bytes) -> None:
        self.root = root
        self.digest = digest
        """Of the root's statement: `previous` of the next one."""
        self._bodies = bodies
        self._tree = tree
        self._before = bytes_of(root.id)
        self._after = root.size.to_bytes(4, "big") + root.previous + root.signature

    def receipt(self, index: int) -> str:
        """Return the receipt of a leaf."""
        head = self._before + index.to_bytes(4, "big") + self._after
        return f"{encode(self._bodies[index])}.{encode(head + self._tree.path(index))}"


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


def statement(root_id: str, size: int, previous: bytes, root: bytes) -> bytes:
    """Return what is signed of a root."""
    return STATEMENT + bytes_of(root_id) + size.to_bytes(4, "big") + previous + root


def key_id(public: bytes) -> str:
    """Return the id of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def jwk(public: bytes) -> dict[str, str]:
    """Return a public key as a JSON Web Key (RFC 8037)."""
    return {
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key_id(public),
        "x": encode(public),
    }  # fmt: skip


def encode(data: bytes) -> str:
    """Return unpadded base64url."""
    return pybase64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _body(line: UsageLine) -> bytes:
    return msgspec.json.encode(
        Receipt(
            request_id=line.request_id,
            organization_id=line.organization_id,
            key_id=line.key_id,
            model_id=line.model_id,
            price_id=line.price_id,
            inputs=line.inputs,
            tokens=line.tokens,
            cost_nanos=str(line.cost_nanos),
            created_ms=line.created_ms,
        )
    )
