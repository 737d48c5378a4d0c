"""How a gateway and a worker on another machine prove to each other who they are.

Each worker has a key of its own, made from the gateways' secret and the worker's authority (host
and port, as gateways know them). Both sides open a session with it, and sign each message in that
session: nobody in between can ask, answer, change, exchange or repeat one. No clocks are compared.

    gateway                                          worker
    POST /session      nonce                   ->
                       ticket, proof           <-    proof = HMAC(key, nonce, ticket)
    authorization: Hop nonce+ticket.counter.tag  ->
                                x-hop-tag: tag <-

The session's key is HMAC(key, nonce, ticket), fresh for each session. The tags are AES-GMAC over
what matters of the message, its direction and its number: a few microseconds for a large one. The
worker keeps nothing until the first signed message, and accepts each number once.

Several keys are known while the secret is rotated. The gateway names those it has (`name_key`), and
the worker proves the first of its own that is among them.

This does not hide texts: where others can listen between the machines, TLS must.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_VARIABLE = "GATEWAY_WORKER_SECRET"  # noqa: S105 - the name of the variable that holds it
KEY_VARIABLE = "GATEWAY_WORKER_KEY"
"""The variable that holds one worker's key: all that a worker needs to know."""
SCHEME = b"Hop "
"""The scheme in the authorization header of a signed request."""
TAG_HEADER = b"x-hop-tag"
"""Holds the tag of an answer."""
SESSION_PATH = "/session"
NONCE_BYTES, TICKET_BYTES, PROOF_BYTES, TAG_BYTES = 16, 24, 32, 16
NAMES_HEADER = b"x-hop-keys"
"""Names the keys that the gateway has, separated by commas."""
_KEY_BYTES = 32
_NAME_BYTES = 8
_SECRET_CHARACTERS_MIN = 32
_PORTS = {"http": 80, "https": 443}
_REQUEST, _ANSWER = b"requ", b"answ"


class WrongKey(ValueError):
    """This is not a worker's key, or the address has none; the text says why."""


def authority_of(address: str) -> str:
    """Return `host:port` of a URL, or of `host:port` itself. Raises WrongKey."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        raise WrongKey(f"{address!r} is no address: {error}") from None
    if not host or not port:
        raise WrongKey(f"{address!r} names no host and port")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(address: str) -> bool:
    """Tell whether a URL, or `host:port`, is on this machine, so that no stranger is in between."""
    if address.startswith("unix:"):
        return True
    host = authority_of(address).rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def derive_key(secret: bytes, authority: str) -> bytes:
    """Return the key of one worker; who knows it learns nothing about another's."""
    return hmac.digest(secret, b"worker " + authority.encode(), "sha256")


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Read GATEWAY_WORKER_SECRET: secrets, one a line or separated by commas.

    If a part between commas is too short for a secret, the whole line is one secret with commas.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return tuple(line.encode() for line in lines)
    parts = [part.strip() for part in text.split(",")]
    if not all(len(part) >= _SECRET_CHARACTERS_MIN for part in parts):
        parts = [text] if text else []
    return tuple(part.encode() for part in parts)


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Read keys as `gateway workers key` prints them. Raises WrongKey."""
    return tuple(_parse_key(part.strip()) for part in text.split(","))


def _parse_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise WrongKey("it is not a key as `gateway workers key` prints it")
    return key


def name_key(key: bytes) -> bytes:
    """Return the name of a key, in hex, which gives away nothing of the key."""
    return hmac.digest(key, b"name", "sha256")[:_NAME_BYTES].hex().encode()


def sign_announcement(key: bytes, body: bytes) -> str:
    """Return the signature of a worker's announcement, in hex."""
    return hmac.digest(key, b"announcement " + body, "sha256").hex()


def sign_time(key: bytes, body: bytes, time: str) -> str:
    """Return the signature of the time in a gateway's answer to an announcement."""
    return hmac.digest(key, b"time %b " % time.encode() + body, "sha256").hex()


def prove(key: bytes, nonce: bytes, ticket: bytes) -> bytes:
    """Return what only a worker that has the key can answer to a nonce."""
    return hmac.digest(key, b"proof " + nonce + ticket, "sha256")


def new_nonce() -> bytes:
    """Return what makes a session different from all others."""
    return secrets.token_bytes(NONCE_BYTES)


class Session:
    """Makes the tags of one session. Each (direction, number) may be used for one message only."""

    def __init__(self, key: bytes, nonce: bytes, ticket: bytes) -> None:
        self.token = (nonce + ticket).hex().encode()
        """The name of the session in requests."""
        self._cipher = AESGCM(hmac.digest(key, b"session " + nonce + ticket, "sha256"))

    def request_tag(self, number: int, claims: bytes, body: bytes) -> bytes:
        """Return the tag of a request; `claims` is what matters of its head."""
        return self._tag(_REQUEST, number, claims, body)

    def answer_tag(self, number: int, claims: bytes, body: bytes | bytearray) -> bytes:
        """Return the tag of the answer to the request of this number."""
        return self._tag(_ANSWER, number, claims, body)

    def _tag(self, direction: bytes, number: int, claims: bytes, body: bytes | bytearray) -> bytes:
        nonce = direction + number.to_bytes(8, "big")
        return self._cipher.encrypt(nonce, claims, body)[-TAG_BYTES:]


def request_claims(method: str, path: str, timeout_ms: bytes, request_id: bytes) -> bytes:
    """Return what matters of a request's head."""
    return b"%b %b\n%b\n%b" % (method.encode(), path.encode(), timeout_ms, request_id)


def answer_claims(status: int, retry_after: bytes) -> bytes:
    """Return what matters of an answer's head."""
    return b"%d\n%b" % (status, retry_after)
