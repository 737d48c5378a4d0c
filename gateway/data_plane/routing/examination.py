"""How a worker proves itself: a handshake, canaries against golden vectors, two measured sizes.

All of it goes through the door that the work goes through. Golden vectors are what the model's
reference gave for a few fixed rows; they find what no check of an answer can see: unit vectors of
another model, another pooling, a missing head. Where a model has them, a revision without any stays
out. A worker of a model that has none yet is only asked twice for the same, and its reason says so;
such a model can't be launched.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

import msgspec

from backends.protocol import InvalidAnswer, TokenRow, WorkerBusy, WorkerTimeout
from gateway.data_plane.routing import verification
from gateway.data_plane.routing.evidence import NotReady
from gateway.data_plane.routing.speed import fit
from gateway.snapshots import GoldenRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backends.protocol import Backend, WorkerInfo
    from gateway.data_plane.routing.settings import RoutingSettings

_PROBE_ROW_TOKENS = 256
_CLS, _SEP = 101, 102
# whole words of BERT's vocabulary, because some engines take ids only where they are a text's
_PROBE_WORDS = range(1996, 2015)
"""Ids that any vocabulary has; what they mean does not matter."""


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of one model must be."""

    model: str
    """The model's name in the catalogue."""
    served_as: frozenset[str] = frozenset()
    """What workers may call it; empty: `model` alone."""
    revision: str | None = None
    """The pinned revision; None: that of the first worker that is ready."""
    vocabulary_sha256: str | None = None
    """Checksum of the vocabulary whose ids are sent; None is not checked."""
    dimensions: frozenset[int] = frozenset()
    """Dimensions that each worker must serve."""
    tokens_max: int = 0
    """Tokens of one row that each worker must take."""
    golden: Mapping[str, tuple[GoldenRow, ...]] = {}
    """Golden rows by revision; where there are any, no other revision belongs here."""

    def mismatch(self, info: WorkerInfo) -> str | None:
        """Say why a worker does not belong here, or None."""
        names = self.served_as or {self.model}
        if info.model not in names:
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

    def __init__(self, spec: PoolSpec, settings: RoutingSettings) -> None:
        self._spec = spec
        self._settings = settings

    async def handshake(self, backend: Backend, *, timeout_seconds: float) -> WorkerInfo:
        """Ask what the worker is. Raises NotReady while it warms or drains."""
        try:
            info = await backend.info(timeout_seconds=timeout_seconds)
        except WorkerBusy as error:
            raise NotReady(error.url, error.reason, error.retry_after_seconds) from error
        wrong = self._spec.mismatch(info)
        if wrong:
            raise InvalidAnswer(backend.url, wrong)
        return info

    async def canary(self, backend: Backend, info: WorkerInfo, *, timeout_seconds: float) -> str:
        """Compare real answers with golden ones; says what was proven."""
        golden = self._spec.golden.get(info.revision, ())
        expected = [
            (TokenRow(row.ids, dimensions), vector, row.cosine_min or self._settings.cosine_min)
            for row in golden
            for dimensions, vector in row.vectors.items()
            if dimensions in info.dimensions
        ]
        if not expected:
            await self._repeat(backend, info, timeout_seconds)
            return "proved itself, but without golden vectors: norm and repeatability only"
        for start in range(0, len(expected), info.rows_max):
            part = expected[start : start + info.rows_max]
            rows = [row for row, _, _ in part]
            vectors = await self._embed(backend, rows, timeout_seconds)
            for index, (vector, (row, wanted, least)) in enumerate(zip(vectors, part, strict=True)):
                found = verification.cosine(vector, wanted)
                if found < least:
                    reason = f"golden row {start + index} at {row.dimensions}: cosine {found:.4f}"
                    raise InvalidAnswer(backend.url, reason)
        return f"proved itself on {len(expected)} golden vectors"

    async def record(
        self, backend: Backend, info: WorkerInfo, texts: Sequence[bytes], *, timeout_seconds: float
    ) -> list[GoldenRow]:
        """Take a trusted worker's answers as golden: each text's ids, in each dimension."""
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

        What the worker measured itself is preferred: it was alone then.
        """
        sizes = []
        for tokens in (
            self._settings.calibration_tokens_small,
            min(self._settings.calibration_tokens_large, info.batch_tokens_max),
        ):
            rows = probe_rows(info, tokens)
            fastest = float("inf")
            for _ in range(self._settings.calibration_rounds):
                started = time.perf_counter()
                await self._embed(backend, rows, timeout_seconds)
                fastest = min(fastest, time.perf_counter() - started)
            sizes.append((sum(row.tokens for row in rows), fastest))
        if info.base_seconds is not None and info.token_seconds is not None:
            return info.base_seconds, info.token_seconds
        return fit(*sizes)

    async def _repeat(self, backend: Backend, info: WorkerInfo, timeout_seconds: float) -> None:
        rows = probe_rows(info, self._settings.calibration_tokens_small)
        first = await self._embed(backend, rows, timeout_seconds)
        second = await self._embed(backend, rows, timeout_seconds)
        for one, other in zip(first, second, strict=True):
            if verification.cosine(one, other) < self._settings.cosine_min:
                raise InvalidAnswer(backend.url, "gives another vector each time it is asked")

    async def _embed(
        self, backend: Backend, rows: Sequence[TokenRow], timeout_seconds: float
    ) -> list[memoryview]:
        started = time.perf_counter()
        vectors = await backend.embed(rows, timeout_seconds=timeout_seconds, request_id="canary")
        wrong = verification.flaw(rows, vectors, norm_tolerance=self._settings.norm_tolerance)
        if wrong:
            raise InvalidAnswer(backend.url, wrong)
        took = time.perf_counter() - started
        if took > timeout_seconds:
            raise WorkerTimeout(backend.url, f"a canary took {took:.3f} s")
        return vectors


def probe_rows(info: WorkerInfo, tokens: int) -> list[TokenRow]:
    """Make rows of `tokens` in all, as a worker takes them, at its least dimensions."""
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
