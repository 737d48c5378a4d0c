"""Reads a stock engine's JSON into float32, refusing what can't be the rows' vectors.

NaN comes as `null`, as a bare `NaN`, or hidden inside base64. The decoder refuses the first two;
the third is found by a check. Every mistake raises `Malformed`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float32]

_FLOAT_BYTES = 4


def from_nested(content: bytes, rows: int) -> Matrix:
    """Read `[[float, ...], ...]`, as TEI's /embed answers: rows x width, float32."""
    try:
        values = msgspec.json.decode(content, type=list[list[float]])
    except msgspec.MsgspecError as error:
        raise Malformed(str(error)) from None
    return _matrix(values, rows)


def from_listing(content: bytes, rows: int, *, model: str, tokens: int | None = None) -> Matrix:
    """Read an OpenAI-like answer, floats or base64, ordered by the items' index: rows x width.

    If `tokens` is given and the answer has a usage, they must agree: a difference reveals a server
    that truncates rows or adds special tokens. Nothing is billed from it.
    """
    try:
        listing = msgspec.json.decode(content, type=_Listing)
    except msgspec.MsgspecError as error:
        raise Malformed(str(error)) from None
    if listing.model not in (None, model):
        raise Malformed(f"vectors of {listing.model!r}, not {model!r}")
    computed = listing.usage.prompt_tokens if listing.usage else None
    if tokens is not None and computed not in (None, tokens):
        raise Malformed(f"computed {computed} tokens where {tokens} were sent")
    if sorted(item.index for item in listing.data) != list(range(rows)):
        raise Malformed(f"{len(listing.data)} items that do not match the {rows} rows")
    ordered = sorted(listing.data, key=lambda item: item.index)
    return _matrix([_floats(item.embedding) for item in ordered], rows)


class Malformed(ValueError):
    """A 200 that is not the rows' vectors; the message says why."""


class _Listing(msgspec.Struct):
    data: list[_Item]
    model: str | None = None
    usage: _Usage | None = None


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


def _floats(embedding: str | list[float]) -> Sequence[float] | Matrix:
    if isinstance(embedding, list):
        return embedding
    try:
        raw = base64.b64decode(embedding, validate=True)
    except binascii.Error as error:
        raise Malformed(f"not base64: {error}") from None
    if len(raw) % _FLOAT_BYTES:
        raise Malformed(f"{len(raw)} bytes are not float32s")
    return np.frombuffer(raw, "<f4")


def _matrix(values: Sequence[Sequence[float] | Matrix], rows: int) -> Matrix:
    if len(values) != rows:
        raise Malformed(f"{len(values)} vectors for {rows} rows")
    widths = {len(value) for value in values}
    if len(widths) > 1:
        raise Malformed(f"vectors of different lengths: {sorted(widths)}")
    with np.errstate(over="ignore"):  # too large for float32 becomes inf, and is detected below
        matrix = np.asarray(values, dtype="<f4").reshape(rows, -1)
    sound = np.isfinite(matrix).all(axis=1) & matrix.any(axis=1)
    if not sound.all():
        raise Malformed(
            f"the vector at {int(np.argmin(sound))} has NaN or infinity, or is all zero"
        )
    return matrix
