"""How a request is recognized when it is sent again."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from gateway.data_plane.api.exchange import Exchange
from gateway.errors import BadRequest
from gateway.snapshots import KeySnapshot

_MARK_BYTES = 12


class Print(NamedTuple):
    """What identifies a request, and whether it says that it is a retry."""

    organization_id: str
    identity: bytes
    """The API key's id, and what identifies a request within this process."""
    body_digest: bytes
    mark: str
    """What identifies the key's request in the ledger: its bytes and its Idempotency-Key."""
    is_named: bool
    """It has an Idempotency-Key."""
    is_retry: bool


def print_of(
    exchange: Exchange, key: KeySnapshot, body_digest: bytes, *, characters_max: int
) -> Print:
    """Return a request's print: of its Idempotency-Key if it has one, else of its body.

    Raises IdempotencyKeyTooLong (400).
    """
    organization_id, key_id = key.organization_id, key.id.encode()
    if given := exchange.header(b"idempotency-key"):
        if len(given) > characters_max:
            raise IdempotencyKeyTooLong(
                f"An Idempotency-Key has at most {characters_max} characters; this one has "
                f"{len(given)}. A UUID will do."
            )
        named = hashlib.sha256(given.encode()).digest()
        mark = hashlib.sha256(named + body_digest).digest()[:_MARK_BYTES].hex()
        identity = b"%b key %b" % (key_id, named)
        return Print(organization_id, identity, body_digest, mark, is_named=True, is_retry=True)
    count = exchange.header(b"x-stainless-retry-count")
    is_retry = count is not None and count.isdecimal() and bool(count.strip("0"))
    mark = body_digest[:_MARK_BYTES].hex()
    identity = b"%b body %b" % (key_id, body_digest)
    return Print(organization_id, identity, body_digest, mark, False, is_retry)


class IdempotencyKeyTooLong(BadRequest):
    """The `Idempotency-Key` is longer than allowed; the message says by how much."""

    code = "idempotency_key_too_long"
    remedy = "Use a random one, such as a UUID."
