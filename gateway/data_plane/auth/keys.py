"""The form of an API key: `sk-`, 40 random characters, and 6 of checksum.

The checksum tells a mistyped key from an unknown one without a query, and lets secret scanners
recognize ours with certainty. Only a keyed digest of a key is ever stored.
"""

from __future__ import annotations

import hmac
import secrets
import string
from zlib import crc32

PREFIX = "sk-"

_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 40  # 238 bits
_CHECKSUM_CHARACTERS = 6
_LENGTH = len(PREFIX) + _RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS


def mint() -> str:
    """Return a new random key."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return PREFIX + body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the form and the checksum are those of a key."""
    if len(key) != _LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return False
    body, checksum = key[len(PREFIX) : -_CHECKSUM_CHARACTERS], key[-_CHECKSUM_CHARACTERS:]
    return hmac.compare_digest(_checksum(body), checksum)


def digest(secret: str, key: str) -> bytes:
    """Return the key's HMAC-SHA256 under the deployment's secret: what is stored and looked up."""
    return hmac.digest(secret.encode(), key.encode(), "sha256")


def _checksum(body: str) -> str:
    number = crc32(body.encode())
    characters = ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters
