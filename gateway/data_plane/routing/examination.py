"""How a worker proves itself: a handshake, canaries against golden vectors, two measured sizes.

All of it uses the client that the work uses. Golden vectors are the reference model's results for a
few fixed rows; they reveal what `flaw` can't see in an answer: unit vectors from another model,
another pooling, a missing head. If a model has golden vectors, a revision without any stays out. If
it has none yet, a worker is only asked for the same vectors twice, and its reason says so; such a
model can't be launched. A worker must not be able to tell a canary from work; see also `witnesses`.
"""

from __future__ import annotations

import math
import random
import time
from array import array
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from backends.protocol import (
    AS_ADDRESSED,
    Backend,
    InvalidAnswer,
    TokenRow,
    WorkerBusy,
    WorkerInfo,
    WorkerTimeout,
)
from gateway.data_plane.routing.quarantine import NotReady
from gateway.data_plane.routing.witnesses import COSINE_MIN, cosine
from gateway.data_plane.routing.worker import fit
from gateway.identifiers import new_id
from gateway.snapshots import GoldenRow

_SQUARE_MIN, _SQUARE_MAX = 0.98**2, 1.02**2
"""The square of a vector's length must be between these: the length may be off from 1 by up to
2%."""
_ROWS_SINGLY_MAX = 4
"""Up to this many rows are checked one by one; more are checked as one matrix, which costs a
copy."""
_TOKENS_SMALL, _TOKENS_LARGE = 8, 2048
"""The two sizes that fit predicted seconds = a + b * tokens."""
_ROUNDS = 3
"""Calls of each size; the fastest counts."""
_FLOAT_BYTES = 4
_PROBE_ROW_TOKENS = 256
_CLS, _SEP = 101, 102
_PROBE_WORDS = range(1996, 2015)
"""Ids of whole words in BERT's vocabulary: some engines accept only ids that come from a text."""


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of one model must be."""

    model: str
    """The model's name in the catalog."""
    revision: str | None = None
    """The pinned revision; None: that of the first worker that is ready."""
    vocabulary_sha256: str | None = None
    """Checksum of the vocabulary whose ids are sent; None: not checked."""
    dimensions: frozenset[int] = frozenset()
    """Dimensions that each worker must serve."""
    tokens_max: int = 0
    """Tokens of one row that each worker must take."""
    golden: Mapping[str, tuple[GoldenRow, ...]] = {}
    """Golden rows by revision; where there are any, no other revision belongs here."""

    def mismatch(self, info: WorkerInfo) -> str | None:
        """Return why a worker does not belong in the pool, or None."""
        if info.model not in (self.model, AS_ADDRESSED):
            return f"serves {info.model!r}, not {self.model!r}"
        if self.revision not in (None, info.revision):
            return f"serves revision {info.revision!r}, not the pinned {self.revision!r}"
        if self.golden and info.revision not in self.golden:
            return (
                f"serves revision {info.revision!r}, which has no golden vectors; if it is to be "
                f"trusted: gateway workers pin {self.model} URL"
            )
        if self.vocabulary_sha256 not in (None, info.vocabulary_sha256):
            return "reads the ids of another vocabulary"
        if info.tokens_max < self.tokens_max:
            return f"reads rows of {info.tokens_max} tokens, not {self.tokens_max}"
        missing = self.dimensions - set(info.dimensions)
        return f"does not serve {sorted(missing)} dimensions" if missing else None


class Examiner:
    """Examines the workers of one pool. Each method raises BackendError when a worker fails it."""

    def __init__(self, spec: PoolSpec) -> None:
        self._spec = spec

    async def handshake(self, backend: Backend, *, timeout_seconds: float) -> WorkerInfo:
        """Ask what the worker serves. Raises NotReady while it warms up or drains."""
        try:
            info = await backend.info(timeout_seconds=timeout_seconds)
        except WorkerBusy as error:
            raise NotReady(error.url, error.reason, error.retry_after_seconds) from error
        wrong = self._spec.mismatch(info)
        if wrong:
            raise InvalidAnswer(backend.url, wrong)
        return info

    async def canary(
        self,
        backend: Backend,
        info: WorkerInfo,
        *,
        timeout_seconds: float,
        among: Sequence[TokenRow] = (),
    ) -> tuple[str, list[memoryview]]:
        """Compare answers with golden vectors; returns a sentence about what was proven.

        Also returns the vectors of the rows `among` them. No two canaries make the same calls: the
        order of rows and the sizes of calls differ each time, and ids look like those of real work.
        """
        expected = [
            (TokenRow(row.ids, dimensions), vector, row.cosine_min or COSINE_MIN)
            for row in self._spec.golden.get(info.revision, ())
            for dimensions, vector in row.vectors.items()
            if dimensions in info.dimensions
        ]
        if not expected:
            await self._repeat(backend, info, timeout_seconds)
            return "proved itself, but without golden vectors: norm and repeatability only", []
        rows = [*among, *(row for row, _, _ in expected)]
        found = await self._shuffled(backend, info, rows, timeout_seconds)
        pairs = zip(found[len(among) :], expected, strict=True)
        for index, (vector, (row, wanted, least)) in enumerate(pairs):
            alike = cosine(vector, wanted)
            if alike < least:
                reason = f"golden row {index} at {row.dimensions}: cosine {alike:.4f}"
                raise InvalidAnswer(backend.url, reason)
        return f"proved itself on {len(expected)} golden vectors", found[: len(among)]

    async def record(
        self, backend: Backend, info: WorkerInfo, texts: Sequence[bytes], *, timeout_seconds: float
    ) -> list[GoldenRow]:
        """Return a trusted worker's answers as golden rows: each text, at all dimensions."""
        golden = []
        for ids in texts:
            rows = [TokenRow(ids, dimensions) for dimensions in info.dimensions]
            vectors = await self._embed(backend, rows, timeout_seconds)
            by_dimensions = {
                row.dimensions: bytes(vector) for row, vector in zip(rows, vectors, strict=True)
            }
            golden.append(GoldenRow(ids=ids, vectors=by_dimensions))
        return golden

    async def calibrate(
        self, backend: Backend, info: WorkerInfo, *, timeout_seconds: float
    ) -> tuple[float, float]:
        """Measure two sizes: returns a and b of seconds = a + b * tokens.

        The worker's own measurement is preferred, because it was idle otherwise.
        """
        sizes = []
        for tokens in (
            _TOKENS_SMALL,
            min(_TOKENS_LARGE, info.batch_tokens_max),
        ):
            rows = probe_rows(info, tokens)
            fastest = float("inf")
            for _ in range(_ROUNDS):
                started = time.perf_counter()
                await self._embed(backend, rows, timeout_seconds)
                fastest = min(fastest, time.perf_counter() - started)
            sizes.append((sum(row.tokens for row in rows), fastest))
        if info.base_seconds is not None and info.token_seconds is not None:
            return info.base_seconds, info.token_seconds
        return fit(*sizes)

    async def _shuffled(
        self, backend: Backend, info: WorkerInfo, rows: Sequence[TokenRow], timeout_seconds: float
    ) -> list[memoryview]:
        """Embed rows in another order, in calls of random sizes; returns their vectors in order."""
        order = random.sample(range(len(rows)), len(rows))
        found: dict[int, memoryview] = {}
        while order:
            size = random.randint(1, min(len(order), info.rows_max))  # noqa: S311 - see `Pool`
            part, order = order[:size], order[size:]
            asked = [rows[index] for index in part]
            vectors = await self._embed(backend, asked, timeout_seconds)
            found |= zip(part, vectors, strict=True)
        return [found[index] for index in range(len(rows))]

    async def _repeat(self, backend: Backend, info: WorkerInfo, timeout_seconds: float) -> None:
        rows = probe_rows(info, _TOKENS_SMALL)
        first = await self._embed(backend, rows, timeout_seconds)
        second = await self._embed(backend, rows, timeout_seconds)
        for one, other in zip(first, second, strict=True):
            if cosine(one, other) < COSINE_MIN:
                raise InvalidAnswer(backend.url, "gives another vector each time it is asked")

    async def _embed(
        self, backend: Backend, rows: Sequence[TokenRow], timeout_seconds: float
    ) -> list[memoryview]:
        started = time.perf_counter()
        vectors = await backend.embed(rows, timeout_seconds=timeout_seconds, request_id=new_id())
        wrong = flaw(rows, vectors)
        if wrong:
            raise InvalidAnswer(backend.url, wrong)
        took = time.perf_counter() - started
        if took > timeout_seconds:
            raise WorkerTimeout(backend.url, f"a canary took {took:.3f} s")
        return vectors


def probe_rows(info: WorkerInfo, tokens: int) -> list[TokenRow]:
    """Make rows of `tokens` in total, within the worker's bounds, with few dimensions."""
    dimensions = min(info.dimensions)
    length = max(3, min(_PROBE_ROW_TOKENS, info.tokens_max, tokens))
    count = min(max(1, tokens // length), info.rows_max)
    return [
        TokenRow(
            array("I", [_CLS, *(_word(7 * i + 11 * j) for i in range(length - 2)), _SEP]).tobytes(),
            dimensions,
        )
        for j in range(count)
    ]


def _word(number: int) -> int:
    return _PROBE_WORDS[number % len(_PROBE_WORDS)]


def flaw(rows: Sequence[TokenRow], vectors: Sequence[memoryview]) -> str | None:
    """Return why these can't be the rows' vectors (raw little-endian float32), or None."""
    if len(vectors) != len(rows):
        return f"{len(vectors)} vectors for {len(rows)} rows"
    for index, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
        if vector.nbytes != _FLOAT_BYTES * row.dimensions:
            return f"{vector.nbytes} bytes at {index}, not {row.dimensions} dimensions"
    if len(rows) > _ROWS_SINGLY_MAX and len({row.dimensions for row in rows}) == 1:
        return _bad_matrix(np.frombuffer(b"".join(vectors), "<f4").reshape(len(rows), -1))
    for index, vector in enumerate(vectors):
        values = np.frombuffer(vector, "<f4")
        square = float(np.vdot(values, values))  # unlike dot, it does not warn of an overflow
        if not _SQUARE_MIN < square < _SQUARE_MAX:  # true for NaN and infinity too
            return _length(index, math.sqrt(square))
    return None


def _bad_matrix(values: np.ndarray) -> str | None:
    with np.errstate(all="ignore"):  # an overflow gives inf, which fails the check
        squares = np.einsum("ij,ij->i", values, values)
        good = (squares > _SQUARE_MIN) & (squares < _SQUARE_MAX)
    if good.all():
        return None
    index = int(np.argmin(good))
    return _length(index, math.sqrt(squares[index]))


def _length(index: int, length: float) -> str:
    return f"the vector at {index} has length {length:.4g}, not 1"
