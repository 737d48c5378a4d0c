"""Warms up and measures what a scheduler plans with: seconds = a + b x tokens of one batch.

Measured on this device with this checkpoint, from a few tokens up to a full batch. The full batch,
and the batches with the most rows and the most numbers, prove that there is enough memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from backends.protocol import TokenRow
from backends.stella.queue import BATCH_FLOATS_MAX

_SMALLEST_TOKENS = 8
_GROWTH = 4
_REPEATS = 3
"""The fastest counts: the first run warms up, and noise only adds time."""
_SECONDS_MAX = 10.0
"""After this time, no larger batch is measured: a slow CPU is known well enough by then."""
_SECONDS_PER_TOKEN_MIN = 1e-9
_ROW_TOKENS_MIN = 3
"""A word between the two special tokens."""
_FIRST_ID, _LAST_ID = 999, 30_000  # ids of words, not of special tokens

Embed = Callable[[Sequence[TokenRow]], list[bytes]]
"""Computes rows into raw float32 vectors, in order."""


class Line(NamedTuple):
    """Seconds of a batch = `base_seconds` + `token_seconds` x tokens."""

    base_seconds: float
    token_seconds: float


def calibrate(
    embed: Embed,
    *,
    dimensions: Sequence[int],
    row_tokens: int,
    batch_tokens: int,
    progress: Callable[[str], None],
) -> Line:
    """Compute batches of growing size and draw the line through the smallest and the largest.

    Then prove that the memory is enough for the shortest rows, at the least and at the most of the
    `dimensions`, which ascend.
    """
    started = time.monotonic()
    points: list[tuple[int, float]] = []
    for tokens in _sizes(batch_tokens):
        rows = rows_of(tokens, row_tokens, dimensions[-1])
        seconds = min(_timed(embed, rows) for _ in range(_REPEATS))
        points.append((tokens, seconds))
        progress(f"warming: {tokens} tokens in {seconds * 1000:.1f} ms")
        if time.monotonic() - started > _SECONDS_MAX:
            break
    for size in (dimensions[0], dimensions[-1]):
        rows = most_rows(batch_tokens, size)
        progress(f"warming: {len(rows)} rows of {size} dimensions")
        embed(rows)
    (few, short), (many, long) = points[0], points[-1]
    slope = (long - short) / (many - few) if many > few else short / few
    slope = max(slope, _SECONDS_PER_TOKEN_MIN)
    return Line(base_seconds=max(short - slope * few, 0.0), token_seconds=slope)


def rows_of(tokens: int, row_tokens: int, dimensions: int) -> list[TokenRow]:
    """Make rows of random words, `tokens` in all, at most `row_tokens` each."""
    source = np.random.default_rng(tokens)
    sizes = [row_tokens] * (tokens // row_tokens) + [tokens % row_tokens]
    return [
        TokenRow(source.integers(_FIRST_ID, _LAST_ID, size).astype("<u4").tobytes(), dimensions)
        for size in sizes
        if size
    ]


def most_rows(batch_tokens: int, dimensions: int) -> list[TokenRow]:
    """Make as many rows as a batch may have: of one word each, at these dimensions."""
    count = min(batch_tokens // _ROW_TOKENS_MIN, BATCH_FLOATS_MAX // dimensions)
    return rows_of(max(count, 1) * _ROW_TOKENS_MIN, _ROW_TOKENS_MIN, dimensions)


def _sizes(batch_tokens: int) -> list[int]:
    sizes = []
    size = min(_SMALLEST_TOKENS, batch_tokens)
    while size < batch_tokens:
        sizes.append(size)
        size *= _GROWTH
    return [*sizes, batch_tokens]


def _timed(embed: Embed, rows: Sequence[TokenRow]) -> float:
    started = time.perf_counter()
    embed(rows)
    return time.perf_counter() - started
