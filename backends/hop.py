"""The binary hop: token ids in, raw float32 out. Both sides encode and decode with this module.

All numbers are little-endian. A request is

    "EMQ1"  u32 rows  rows x (u32 tokens, u32 dimensions)  ids as u32, row after row

and its answer

    "EMR1"  u32 rows  rows x (u32 crc32 of the row's ids, u32 dimensions)  float32, row after row

The worker computes the checksum from the ids that it embedded, so an answer that is permuted or
belongs to another call is detected before it is delivered. Lengths must add up to the byte;
anything else raises `MalformedHop`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from zlib import crc32

from backends.protocol import TokenRow, WorkerInfo

CONTENT_TYPE = "application/x-embedding-hop"
TIMEOUT_HEADER = "x-timeout-ms"
"""How long the caller waits, in milliseconds; a worker drops expired calls."""

_HEADER = struct.Struct("<4sI")
_REQUEST, _ANSWER = b"EMQ1", b"EMR1"
_PAIR_BYTES = 8


class MalformedHop(ValueError):
    """The bytes are not a hop message; the error says why."""


class HopTooLarge(MalformedHop):
    """The message is over a limit."""


def encode_request(rows: Sequence[TokenRow]) -> bytes:
    """Write the rows as one request body."""
    ids = [row.ids for row in rows]
    dimensions = [row.dimensions for row in rows]
    return b"".join((_head(_REQUEST, [len(part) // 4 for part in ids], dimensions), *ids))


def decode_request(body: bytes, *, rows_max: int, tokens_max: int) -> list[TokenRow]:
    """Read a request body, refusing more than `rows_max` rows or `tokens_max` tokens in all."""
    table, data = _split(body, _REQUEST, rows_max)
    lengths, dimensions = table[::2], table[1::2]
    if sum(lengths) > tokens_max:
        raise HopTooLarge(f"{sum(lengths)} tokens; this worker takes at most {tokens_max} a call")
    parts = _cut(data, [4 * tokens for tokens in lengths])
    return [TokenRow(bytes(ids), wanted) for ids, wanted in zip(parts, dimensions, strict=True)]


def request_bytes_max(info: WorkerInfo) -> int:
    """Return the length of the largest request that this worker takes."""
    return _HEADER.size + _PAIR_BYTES * info.rows_max + 4 * info.batch_tokens_max


def encode_answer(rows: Sequence[TokenRow], vectors: Sequence[bytes | memoryview]) -> bytes:
    """Write the vectors of `rows` (raw float32, one buffer a row) as one answer body."""
    if len(rows) != len(vectors):
        raise ValueError(f"{len(vectors)} vectors for {len(rows)} rows")
    head = _head(_ANSWER, [crc32(row.ids) for row in rows], [len(v) // 4 for v in vectors])
    return b"".join((head, *vectors))


def answer_bytes(rows: Sequence[TokenRow]) -> int:
    """Return the length of the answer to these rows."""
    return _HEADER.size + _PAIR_BYTES * len(rows) + 4 * sum([row.dimensions for row in rows])


def decode_answer(body: bytes | bytearray, rows: Sequence[TokenRow]) -> list[memoryview]:
    """Read the vectors of exactly these rows, in this order."""
    dimensions = [row.dimensions for row in rows]
    head = _head(_ANSWER, [crc32(row.ids) for row in rows], dimensions)
    if not body.startswith(head):
        raise MalformedHop(_difference(body, rows))
    return _cut(memoryview(body)[len(head) :], [4 * wanted for wanted in dimensions])


def _difference(body: bytes | bytearray, rows: Sequence[TokenRow]) -> str:
    """Return why an answer does not begin as the answer to these rows must."""
    table, _ = _split(body, _ANSWER, len(rows))
    if len(table) != 2 * len(rows):
        return f"{len(table) // 2} vectors for {len(rows)} rows"
    pairs = zip(rows, table[::2], table[1::2], strict=True)
    for index, (row, checksum, dimensions) in enumerate(pairs):
        if checksum != crc32(row.ids):
            return f"the vector at {index} was made from other ids"
        if dimensions != row.dimensions:
            return f"{dimensions} dimensions at {index}, not {row.dimensions}"
    raise AssertionError("an answer that differs nowhere")


def _head(magic: bytes, firsts: Sequence[int], seconds: Sequence[int]) -> bytes:
    """Write the header, and the table of pairs (first, second)."""
    rows = len(firsts)
    table = [0] * (2 * rows)
    table[::2], table[1::2] = firsts, seconds
    return struct.pack(f"<4sI{2 * rows}I", magic, rows, *table)


def _split(body: bytes | bytearray, magic: bytes, rows_max: int) -> tuple[array[int], memoryview]:
    if len(body) < _HEADER.size:
        raise MalformedHop("shorter than its header")
    found, rows = _HEADER.unpack_from(body)
    if found != magic:
        raise MalformedHop(f"starts with {found!r}, not {magic!r}")
    if rows > rows_max:
        raise HopTooLarge(f"{rows} rows, at most {rows_max} fit")
    start = _HEADER.size + rows * _PAIR_BYTES
    if len(body) < start:
        raise MalformedHop("ends inside its table")
    table = array("I", body[_HEADER.size : start])
    if sys.byteorder == "big":
        table.byteswap()
    return table, memoryview(body)[start:]


def _cut(data: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    if start != len(data):
        raise MalformedHop(f"{len(data)} bytes of data where the table says {start}")
    return parts
