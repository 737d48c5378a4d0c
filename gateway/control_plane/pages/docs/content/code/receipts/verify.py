"""Check a receipt: was this charged, by this gateway, and for what?"""

import hashlib
import json
import os
import sys
from base64 import urlsafe_b64decode
from urllib.request import urlopen

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PublicKey,
)

STATEMENT = b"gateway receipts root v1\n"


def decode(text):
    """Return the bytes of unpadded base64url."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sha256(*parts):
    """Return the digest of all parts together."""
    return hashlib.sha256(b"".join(parts)).digest()


def root(leaf, index, size, path):
    """Return the root of a Merkle tree (RFC 6962), from a leaf's path."""
    node, last = sha256(b"\0", leaf), size - 1
    for start in range(0, len(path), 32):
        sibling = path[start : start + 32]
        if index % 2 or index == last:
            node = sha256(b"\1", sibling, node)
            while index and not index % 2:
                index, last = index // 2, last // 2
        else:
            node = sha256(b"\1", node, sibling)
        index, last = index // 2, last // 2
    if last:
        sys.exit("The proof is incomplete.")
    return node


def signed_part(body, proof):
    """Return the bytes that were signed, and their signature."""
    if len(proof) == 64:  # it left before its batch: signed by itself
        return body, proof
    index = int.from_bytes(proof[16:20], "big")
    size = int.from_bytes(proof[20:24], "big")
    if index >= size:
        sys.exit("The proof is of another tree.")
    top = root(body, index, size, proof[120:])
    return STATEMENT + proof[:16] + proof[20:56] + top, proof[56:120]


def is_signed(signed, signature, keys):
    """Tell whether one of the gateway's keys signed this."""
    for key in keys:
        public = Ed25519PublicKey.from_public_bytes(decode(key["x"]))
        try:
            public.verify(signature, signed)
        except InvalidSignature:
            continue
        return True
    return False


body, proof = map(decode, sys.argv[1].split("."))
with urlopen(os.environ["OPENAI_BASE_URL"] + "/receipts/key") as response:
    keys = json.load(response)["keys"]
if not is_signed(*signed_part(body, proof), keys):
    sys.exit("No key of this gateway signed it.")
receipt = json.loads(body)
print(
    f"Valid: {receipt['tokens']} tokens of {receipt['model_id']},", end=" "
)
print(f"${int(receipt['cost_nanos']) / 1e9:.9f}")
