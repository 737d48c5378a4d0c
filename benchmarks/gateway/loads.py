"""What is asked for: four loads, and files of whole requests for the program that sends them."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from testing.gateways import STELLA

_WORDS = (
    "the of and to in is that for it was with be by on not he his but at are this have from had "
    "they which one you were all her she there would their we him been has when who will no more "
    "out so up said what its about than into them can only other time new some could these two may "
    "first then do any like my now over such our man me even most made after also did many off "
    "before must well back through years much where your way down should because long each just "
    "state those people too how little good world make very year still see own work men day get "
    "here old life both between being under three never know same last another while us might great"
)
"""Each is one token."""
_SPECIAL_TOKENS = 2


class Pace(NamedTuple):
    """How requests are sent."""

    connections: int
    rate: float = 0.0
    """Requests that are due in a second; 0: each connection sends one after the other."""


class Load(NamedTuple):
    """A kind of request."""

    name: str
    texts: int
    tokens: int
    """Of each text."""
    form: str
    pace: Pace


SHORT = Load("short, base64", 1, 20, "base64", Pace(32))
LOADS = (
    SHORT,
    Load("short, float", 1, 20, "float", Pace(32)),
    Load("32 x 128 tokens, base64", 32, 128, "base64", Pace(8)),
    Load("32 x 128 tokens, float", 32, 128, "float", Pace(8)),
)


def write(path: Path, load: Load, keys: Sequence[str], *, bodies: int = 64) -> Path:
    """Write requests to POST /v1/embeddings with these keys in turn."""
    source = random.Random(load.name)
    words = _WORDS.split()
    texts = [_body(source, words, load) for _ in range(bodies)]
    with path.open("wb") as file:
        for index in range(max(bodies, len(keys))):
            request = raw(texts[index % bodies], keys[index % len(keys)])
            file.write(struct.pack("<I", len(request)) + request)
    return path


def raw(body: bytes, key: str) -> bytes:
    """Return a request as it goes over the wire."""
    return (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
    )


def _body(source: random.Random, words: Sequence[str], load: Load) -> bytes:
    texts = [
        " ".join(source.choices(words, k=load.tokens - _SPECIAL_TOKENS)) for _ in range(load.texts)
    ]
    given = texts[0] if load.texts == 1 else texts
    return msgspec.json.encode({"model": STELLA, "input": given, "encoding_format": load.form})
