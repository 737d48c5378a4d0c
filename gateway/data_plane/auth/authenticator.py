"""From an `Authorization` header to a key, mostly without asking the database.

A cached key is used at once. Once it is `trusted_seconds` old, it is reread in the background, and
while the database is unavailable it stays in use for `stale_seconds`; `forget` ends that at once. A
request waits for the database only if this process does not know its key, and never for long.

A made-up key lacks our MAC, and is refused without a query, as long as no key without a MAC is in
use; where such keys are in use, each network may try a limited number. An unavailable database is
503, never 401: a client must not discard a good key.

While the deployment's secret is being rotated, a key may be stored under another of its secrets.
The same statement looks that up, and `take_outdated` returns the keys found this way. Here, a key
is named by its digest under the first secret; reports of a change may name it by any of them.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import msgspec
from cachetools import TTLCache

from gateway import wall
from gateway.data_plane.auth import keys
from gateway.data_plane.auth.keys import Digests
from gateway.data_plane.auth.networks import TooManyUnknownKeys, UnknownKeys
from gateway.data_plane.auth.reads import KeyReads, KeyStore, KeyStoreUnavailable, ReadRules
from gateway.errors import Forbidden, Unauthorized, Unavailable
from gateway.keyring import Keyring
from gateway.networks import UNKNOWN
from gateway.observability import metrics
from gateway.snapshots import KeySnapshot, MacSecrets, Scope

_UNKNOWN_SECONDS = 2.0
_UNKNOWN_ENTRIES = 10_000
_CHANGED_SECONDS = 60.0
_CHANGED_ENTRIES = 10_000
_OUTDATED_MAX = 500
"""Most digests under another secret that are kept until they are rewritten."""


class KeyRules(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of the cache, and how long a key is used."""

    entries_max: int = 100_000
    trusted_seconds: float = 60.0
    """Until a key in use is read again."""
    stale_seconds: float = 3_600.0
    """Until a key that could not be read again is no longer used."""
    unknown_per_minute: int = 120
    """Unknown keys without our MAC that one network may try."""
    reads: ReadRules = ReadRules()


class Authenticator:
    """Checks keys against a `KeyStore` through a bounded cache."""

    def __init__(
        self,
        store: KeyStore,
        *,
        secret: Keyring,
        rules: KeyRules,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = wall.unix_time,
    ) -> None:
        self._store = store
        self._secret = secret
        self._first = secret.first.encode()
        self._rules = rules
        self._monotonic = monotonic
        self._now = now
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        """By the time they were read."""
        self._firsts: dict[bytes, bytes] = {}
        """The first digests of known keys, by their other digests."""
        self._outdated: dict[bytes, bytes] = {}
        self._unknown: TTLCache[bytes, bool] = TTLCache(
            _UNKNOWN_ENTRIES, _UNKNOWN_SECONDS, monotonic
        )
        self._changed: TTLCache[bytes, bool] = TTLCache(
            _CHANGED_ENTRIES, _CHANGED_SECONDS, monotonic
        )
        """Keys that someone changed, so they are not made up."""
        self._reads = KeyReads(store, self._remember, rules.reads, monotonic)
        self._tries = UnknownKeys(rules.unknown_per_minute, clock=monotonic)
        self._macs = MacSecrets()
        self._macs_until = float("-inf")

    async def authenticate(
        self, authorization: str | None, network: Callable[[], str] = lambda: UNKNOWN
    ) -> KeySnapshot:
        """Return the caller's key; a known key needs no waiting. `network` is the caller's.

        Raises Unauthorized (401), TooManyUnknownKeys (429) or AuthenticationUnavailable (503).
        """
        key = _bearer(authorization)
        digest = hmac.digest(self._first, key.encode(), "sha256")  # as `keys.digests`, and less
        known = self._recall(digest) or await self._look_up(key, network)
        if known.expires_at is not None and known.expires_at <= self._now():
            raise ExpiredKey("This API key has expired. Create a new one.")
        return known

    def forget(self, digest: bytes) -> None:
        """Drop a changed key. If it is in use here, it is reread at once."""
        self._changed[digest] = True
        self._unknown.pop(digest, None)
        self._reads.outdate(digest)
        known = self._drop(self._firsts.get(digest, digest))
        if known is not None:
            self._reads.outdate(known.digests.first)
            self._reads.again(known.digests)

    def outdate(self, digest: bytes) -> None:
        """Reread a key that changed and is still valid.

        Until then, and so while the database is unavailable, it is used as it was.
        """
        first = self._firsts.get(digest, digest)
        known = self._known.get(first)
        if known is None:
            self.forget(digest)
            return
        aged = self._monotonic() - self._rules.trusted_seconds
        self._known[first] = known._replace(read_at=min(known.read_at, aged))
        self._reads.outdate(first)
        self._reads.again(known.digests)

    def take_outdated(self) -> Mapping[bytes, bytes]:
        """Return digests under another secret by which keys were found, and those under the first.

        Each is returned once, and again when its key is reread.
        """
        taken, self._outdated = self._outdated, {}
        return taken

    async def refresh(self) -> None:
        """Read the MAC secrets. Raises KeyStoreUnavailable; then no key counts as made up."""
        until = self._monotonic() + keys.MAC_SECRETS_SECONDS
        self._macs = await self._store.mac_secrets()
        self._macs_until = until

    async def close(self) -> None:
        """End the reads that are under way."""
        await self._reads.close()

    def _recall(self, digest: bytes) -> KeySnapshot | None:
        known = self._known.get(digest)
        if known is None:
            return None
        age = self._monotonic() - known.read_at
        if age >= self._rules.trusted_seconds:
            if age >= self._rules.stale_seconds:
                return None
            self._reads.again(known.digests)
        return known.key

    async def _look_up(self, key: str, network: Callable[[], str]) -> KeySnapshot:
        if not keys.is_well_formed(key):
            raise _refused("malformed")
        digests = keys.digests(self._secret, key)
        named = (digests.first, *digests.others)
        if all(digest in self._unknown for digest in named):
            raise _refused("unknown")
        if keys.is_ours(key, self._macs.secrets) or any(one in self._changed for one in named):
            found = await self._wait(digests)
        elif self._macs.others or self._monotonic() >= self._macs_until:
            found = await self._try(digests, network())
        else:
            raise _refused("made up")
        if found is None:
            raise _refused("unknown")
        return found

    async def _try(self, digests: Digests, network: str) -> KeySnapshot | None:
        """Look up a key that anyone may have made up; keys that exist are not counted."""
        try:
            self._tries.take(network)
        except TooManyUnknownKeys:
            metrics.count_refused_key("network")
            raise
        exists = True
        try:
            found = await self._wait(digests)
            exists = found is not None
        finally:
            if exists:
                self._tries.give_back(network)
        return found

    async def _wait(self, digests: Digests) -> KeySnapshot | None:
        try:
            return await self._reads.wait(digests)
        except KeyStoreUnavailable:
            raise AuthenticationUnavailable(
                "The API key can't be checked right now. It may be valid: try again."
            ) from None

    def _remember(self, digests: Digests, key: KeySnapshot | None, found_by: bytes | None) -> None:
        self._drop(digests.first)
        if key is None:
            for digest in (digests.first, *digests.others):
                self._unknown[digest] = True
            return
        if len(self._known) >= self._rules.entries_max:
            self._drop(next(iter(self._known)))
        self._known[digests.first] = _Known(key, self._monotonic(), digests)
        for digest in digests.others:
            self._firsts[digest] = digests.first
        if found_by in digests.others and len(self._outdated) < _OUTDATED_MAX:
            self._outdated[found_by] = digests.first

    def _drop(self, first: bytes) -> _Known | None:
        known = self._known.pop(first, None)
        if known is not None:
            for digest in known.digests.others:
                self._firsts.pop(digest, None)
        return known


class MissingKey(Unauthorized):
    """No key came with the request."""

    code = "missing_api_key"
    remedy = "Send it as a header: `Authorization: Bearer sk-...`"


class ScopeMissing(Forbidden):
    """The key is good, but it may not do this."""

    code = "scope_missing"
    remedy = "Use a key with that scope: the API keys page in the console shows and changes scopes."

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This API key does not have the scope `{scope}`, so it may not do this.")


class ExpiredKey(Unauthorized):
    """The key has expired."""

    code = "expired_api_key"
    remedy = "Create a new one in the console."


class AuthenticationUnavailable(Unavailable):
    """Your key can't be checked at the moment; it may well be good."""

    code = "authentication_unavailable"
    remedy = "Keep the key, and try again."


class _Known(NamedTuple):
    key: KeySnapshot
    read_at: float
    digests: Digests


def _bearer(authorization: str | None) -> str:
    """Return what may be a key, judging by its length."""
    if not authorization:
        raise MissingKey("No API key. Send it as a header: Authorization: Bearer sk-...")
    scheme, _, key = authorization.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("Send the API key as a header: Authorization: Bearer sk-...")
    if len(key) != keys.LENGTH:
        raise _refused("malformed")
    return key


def _refused(reason: Literal["malformed", "made up", "unknown"]) -> Unauthorized:
    metrics.count_refused_key(reason)
    if reason == "malformed":
        return Unauthorized(
            "This is not an API key from this gateway: a character is missing or wrong. Copy the "
            "whole key again."
        )
    return Unauthorized("This API key is unknown or was revoked. Create a new one.")
