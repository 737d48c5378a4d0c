"""From an `Authorization` header to a key, mostly without asking the database.

A key that was found is trusted for `trusted_seconds`, and for `stale_seconds` while the database is
unavailable; `forget` ends that at once. A key that was not found is remembered as unknown for a
moment, so that a flood of bad keys is not a flood of queries. An unavailable database is 503, never
401: a client must not discard a good key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cachetools import LRUCache, TTLCache

from gateway.data_plane.auth import keys
from gateway.errors import Unauthorized, Unavailable
from gateway.snapshots import KeySnapshot

_UNKNOWN_SECONDS = 2.0
_UNKNOWN_ENTRIES = 10_000


class Authenticator:
    """Checks keys against a `KeyStore` through a bounded cache."""

    def __init__(
        self,
        store: KeyStore,
        *,
        secret: str,
        entries_max: int,
        trusted_seconds: float,
        stale_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._secret = secret
        self._trusted_seconds = trusted_seconds
        self._stale_seconds = stale_seconds
        self._monotonic = monotonic
        self._now = now
        self._known: LRUCache[bytes, _Cached] = LRUCache(entries_max)
        self._unknown: TTLCache[bytes, bool] = TTLCache(
            _UNKNOWN_ENTRIES, _UNKNOWN_SECONDS, monotonic
        )
        self._generation = 0

    async def authenticate(self, authorization: str | None) -> KeySnapshot:
        """Return the caller's key. Raises Unauthorized (401) or AuthenticationUnavailable (503)."""
        digest = keys.digest(self._secret, _bearer(authorization))
        cached = self._known.get(digest)
        age = self._monotonic() - cached.read_at if cached else 0.0
        if cached and age < self._trusted_seconds:
            return self._unexpired(cached.key)
        if digest in self._unknown:
            raise _unknown_key()
        generation = self._generation
        try:
            key = await self._store.find(digest)
        except KeyStoreUnavailable:
            if cached and age < self._stale_seconds and digest in self._known:
                return self._unexpired(cached.key)
            raise AuthenticationUnavailable(
                "The API key can't be checked at the moment. It may be valid: try again."
            ) from None
        if key is None:
            self._known.pop(digest, None)
            self._unknown[digest] = True
            raise _unknown_key()
        # a revocation during the query may be newer than its result
        if generation == self._generation:
            self._known[digest] = _Cached(key, self._monotonic())
        return self._unexpired(key)

    def forget(self, digest: bytes) -> None:
        """Drop a key that changed, so that its next use reads it again."""
        self._generation += 1
        self._known.pop(digest, None)
        self._unknown.pop(digest, None)

    def _unexpired(self, key: KeySnapshot) -> KeySnapshot:
        if key.expires_at is not None and key.expires_at <= self._now():
            raise ExpiredKey("This API key has expired. Create a new one.")
        return key


class KeyStoreUnavailable(Exception):
    """The key store does not answer."""


class KeyStore(Protocol):
    """Where keys are looked up by digest."""

    async def find(self, digest: bytes) -> KeySnapshot | None:
        """Return the key if it exists and is not revoked. Raises KeyStoreUnavailable."""
        ...


class MissingKey(Unauthorized):
    """No key came with the request."""

    code = "missing_api_key"
    remedy = "Send it as a header: `Authorization: Bearer sk-...`"


class ExpiredKey(Unauthorized):
    """The key has expired."""

    code = "expired_api_key"
    remedy = "Create a new one in the console."


class AuthenticationUnavailable(Unavailable):
    """Your key can't be checked at the moment; it may well be good."""

    code = "authentication_unavailable"
    remedy = "Keep the key, and try again."


class _Cached(NamedTuple):
    key: KeySnapshot
    read_at: float


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise MissingKey("No API key. Send it as a header: Authorization: Bearer sk-...")
    scheme, _, key = authorization.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("Send the API key as a header: Authorization: Bearer sk-...")
    if not keys.is_well_formed(key):
        raise Unauthorized(
            "This is not an API key of this gateway: a character is missing or wrong. Copy the "
            "whole key again."
        )
    return key


def _unknown_key() -> Unauthorized:
    return Unauthorized("This API key is unknown or was revoked. Create a new one.")
