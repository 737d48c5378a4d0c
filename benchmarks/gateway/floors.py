"""The least that each step of a short request costs in Python: the call that does the work."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from array import array
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

import httptools
import msgspec
import numpy as np

from backends import hop
from backends.protocol import TokenRow
from benchmarks.gateway.loads import raw
from gateway.data_plane.api.requests import EmbeddingsRequest
from gateway.data_plane.auth import keys
from gateway.data_plane.metering import tokens
from gateway.keyring import Keyring
from testing.gateways import SECRET, STELLA

_ROUNDS, _CALLS = 7, 2_000
_DIMENSIONS = 1_024
_TEXT = " ".join(["the gateway counts tokens of every request before it is"] * 2)[:100]


class Floor(NamedTuple):
    """What a step can't do without."""

    us: float
    what: str


def measure() -> dict[str, Floor]:
    """Return the floor of each step that has one."""
    body = msgspec.json.encode({"model": STELLA, "input": _TEXT, "encoding_format": "base64"})
    request, counter = raw(body, keys.mint(b"")), tokens.load()
    decode = msgspec.json.Decoder(EmbeddingsRequest).decode
    row = TokenRow(array("I", [101, *range(2000, 2018), 102]).tobytes(), _DIMENSIONS)
    vector = np.full(_DIMENSIONS, _DIMENSIONS**-0.5, "<f4")
    packed, known = vector.tobytes(), {}
    answer = hop.encode_answer([row], [packed])
    key = keys.mint(b"")
    known[Keyring(SECRET).digest(key)] = key
    parts = (b'{"object":"list","data":[', b'],"model":"', b'"}')

    def look_up() -> object:
        return known[hmac.digest(SECRET.encode(), key.encode(), "sha256")]

    def parse() -> None:
        httptools.HttpRequestParser(_Nothing()).feed_data(request)

    def carry() -> object:
        return crc32(row.ids), memoryview(answer)[16:], b"".join((b"EMQ1", row.ids))

    def check() -> bool:
        values = np.frombuffer(packed, "<f4")
        return bool(abs(values @ values - 1.0) < 0.04)

    def write() -> bytes:
        return base64.b64encode(packed).join(parts)

    calls: dict[str, tuple[Callable[[], object], str]] = {
        "HTTP and the order of steps": (parse, "httptools over the request's bytes"),
        "read the body's JSON": (lambda: decode(body), "msgspec"),
        "key": (look_up, "an HMAC and a look into a dictionary"),
        "retries": (lambda: hashlib.sha256(body).digest(), "SHA-256 of the body"),
        "count tokens, make rows": (lambda: counter.encode(_TEXT), "nanotoken"),
        "receipts": (lambda: hashlib.sha256(body[:200]).digest(), "a hash"),
        "hop": (carry, "a checksum, a slice and a join"),
        "check vectors": (check, "a dot product"),
        "write the answer's body": (write, "base64 and a join"),
    }
    return {step: Floor(_us(call), what) for step, (call, what) in calls.items()}


class _Nothing:
    """Takes what a parser finds."""


def _us(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in microseconds: the least of some rounds."""
    least = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_CALLS):
            call()
        least = min(least, time.process_time() - began)
    return least / _CALLS * 1e6
