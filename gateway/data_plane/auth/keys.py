"""The form of an API key: `sk-`, 30 random characters, 10 of a MAC, and 6 of a checksum.

The checksum is public: it distinguishes a mistyped key from an unknown one, and lets secret
scanners recognize our keys with certainty. The MAC uses a secret that only gateways know, so a
made-up key is recognized without a query. It protects the database, not an account: a key is proven
by its digest, the only trace of it that is stored. Keys of version 0.1 have the same form with
40 random characters.
"""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from gateway.keyring import Keyring

PREFIX = "sk-"
MAC_SECRETS_SECONDS = 60.0
"""How long the known secrets are assumed to be complete. A new one signs no key before that time is
over."""

_ALPHABET = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 30  # 178 bits
_MAC_CHARACTERS = 10  # 59 bits
_CHECKSUM_CHARACTERS = 6
_RANDOM_MAX = len(_ALPHABET) ** _RANDOM_CHARACTERS
_RANDOM = slice(len(PREFIX), len(PREFIX) + _RANDOM_CHARACTERS)
_MAC = slice(_RANDOM.stop, _RANDOM.stop + _MAC_CHARACTERS)
_BODY = slice(_RANDOM.start, _MAC.stop)
LENGTH = _BODY.stop + _CHECKSUM_CHARACTERS


def mint(mac_secret: bytes) -> str:
    """Return a new random key with its MAC under a secret."""
    random = _characters(secrets.randbelow(_RANDOM_MAX), _RANDOM_CHARACTERS)
    body = random + _mac(mac_secret, random)
    return PREFIX + body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the form and the checksum are those of a key."""
    if len(key) != LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return False
    return hmac.compare_digest(_checksum(key[_BODY]), key[_BODY.stop :])


def is_ours(key: str, mac_secrets: Iterable[bytes]) -> bool:
    """Whether a well-formed key carries a MAC under one of the secrets."""
    random, mac = key[_RANDOM], key[_MAC]
    return any(hmac.compare_digest(_mac(secret, random), mac) for secret in mac_secrets)


class Digests(NamedTuple):
    """A key's HMAC-SHA256 under the deployment's secret: what is stored and looked up."""

    first: bytes
    """Under the first secret: how this process names the key."""
    others: tuple[bytes, ...] = ()
    """Under the others, while the secret is rotated."""


def digests(keyring: Keyring, key: str) -> Digests:
    """Return a key's digests under all secrets."""
    first, *others = keyring.digests(key)
    return Digests(first, tuple(others))


def _mac(secret: bytes, random: str) -> str:
    whole = hmac.digest(secret, random.encode(), "sha256")
    return _characters(int.from_bytes(whole[:8]), _MAC_CHARACTERS)


def _checksum(body: str) -> str:
    return _characters(crc32(body.encode()), _CHECKSUM_CHARACTERS)


def _characters(number: int, count: int) -> str:
    """Return the last `count` digits of a number in base 62."""
    characters = ""
    for _ in range(count):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters
