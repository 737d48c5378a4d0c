"""A stock embedding server as a `Backend`: what all of them have in common.

What differs (paths, bodies, what an engine reports) is in its `Dialect`. The rest is the same:

- What an engine reports is tested where possible. Its /health proves nothing, so `info` runs a real
  forward pass, which also shows how long the vectors are and whether they are normalized.
- Only the engine's own dimensions, or those of the heads, are served. `dimensions` is never passed
  on: each engine means something different by it, and none means what Stella means.
- A call with more rows or bytes than the engine takes is split into several, made one after the
  other. A row that is too long is refused here (`BeyondWorker`), before the engine can silently
  truncate it.
- Pooled mode (`heads=`): the engine returns mean-pooled vectors; Stella's heads are applied here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np

from backends.adapters.address import EngineAddress, state
from backends.adapters.client import Answer, WorkerClient, deadline
from backends.adapters.heads import DenseHeads
from backends.adapters.lifeline import Lifeline
from backends.adapters.statuses import engine_refusal
from backends.adapters.trust import Trust
from backends.adapters.vectors import Malformed, Matrix
from backends.adapters.vocabulary import NotText
from backends.protocol import (
    AS_ADDRESSED,
    NO_HEADERS,
    BackendError,
    BeyondWorker,
    InvalidAnswer,
    TokenRow,
    WorkerInfo,
)

_T = TypeVar("_T")

ROWS_MAX = 256
"""Most rows in one call to an engine without a limit of its own."""
BATCH_TOKENS_MAX = 300_000
"""Most tokens in one call of the gateway."""
ABOUT_BYTES_MAX = 1 << 20
"""Most bytes of an engine's description of itself."""

_WIDTH_MAX = 16_384
_FLOAT_CHARACTERS_MAX = 32  # a float64 in JSON with its comma takes 25
_ANSWER_BYTES_MORE = 65_536  # the rest of an answer
_PROBES = tuple(
    np.array(ids, "<u4").tobytes() for ids in ([101, 7592, 102], [101, 2088, 2088, 102])
)
"""[CLS] hello [SEP] and [CLS] world world [SEP] in BERT's vocabulary."""
_UNIT_TOLERANCE = 1e-2  # half precision normalizes to within 1e-3
_UNPOOLED_TOLERANCE = 1e-3
_THREAD_PRODUCTS_MIN = 4_000_000  # about a millisecond of one core; more would block the event loop


class StockBackend:
    """One worker that runs a stock engine."""

    def __init__(
        self,
        address: EngineAddress,
        dialect: Dialect,
        heads: DenseHeads | None,
        trust: Trust,
        name: str = "",
    ) -> None:
        """`name` (host:port) must be in its certificate; by default the one in its address."""
        self.url = address.url
        self._options = address.options
        self._dialect = dialect
        self._heads = heads
        host = name.rpartition(":")[0].strip("[]")
        self._client = WorkerClient(
            address.url,
            address.base,
            engine_refusal,
            _headers(address),
            trust=trust,
            host=host,
        )
        self.on_lost: Callable[[], None] = lambda: None
        self._lifeline = Lifeline(address.base, trust.tls, host)
        self._lifeline.on_lost = self._lost
        self._proven: _Proven | None = None

    async def info(self, *, timeout_seconds: float) -> WorkerInfo:
        """Ask what the engine serves, and compute a probe. Raises BackendError."""
        try:
            async with deadline(self.url, timeout_seconds):
                await self._lifeline.hold()
                return (await self._prove()).info
        except BackendError:
            self._proven = None  # it may be another engine now
            raise

    async def embed(
        self,
        rows: Sequence[TokenRow],
        *,
        timeout_seconds: float,
        request_id: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> list[memoryview]:
        """Embed the rows in as few calls as the engine allows; see `Backend.embed`."""
        async with deadline(self.url, timeout_seconds):
            proven = self._proven or await self._prove()
            if misfit := proven.info.misfit(rows):
                raise BeyondWorker(self.url, misfit)
            named = {**headers, "x-request-id": request_id}
            found = await self._compute(rows, proven.about, proven.width, named)
            return await self._finished(rows, found)

    async def close(self) -> None:
        """Close its connections."""
        self._lifeline.close()
        await self._client.close()

    def _lost(self) -> None:
        self.on_lost()

    async def _prove(self) -> _Proven:
        try:
            about = await self._dialect.about(self._client)
        except Malformed as error:
            raise InvalidAnswer(self.url, str(error)) from None
        revision, tokens_max = self._agreed(about)
        probes = [TokenRow(ids, 0) for ids in _PROBES]
        width = self._probed(await self._compute(probes, about, None, {"x-request-id": "probe"}))
        info = WorkerInfo(
            model=about.model if self._options.model is None else AS_ADDRESSED,
            revision=revision,
            dtype=about.dtype,
            dimensions=self._heads.dimensions if self._heads else (width,),
            tokens_max=tokens_max,
            rows_max=about.rows_max,
            batch_tokens_max=max(tokens_max, min(BATCH_TOKENS_MAX, about.rows_max * tokens_max)),
            vocabulary_sha256=self._dialect.vocabulary_sha256,
        )
        self._proven = _Proven(about, width, info)
        return self._proven

    def _agreed(self, about: About) -> tuple[str, int]:
        """Check the engine's report against its address; return revision and longest row."""
        stated = self._options
        if stated.model not in (None, about.model):
            raise InvalidAnswer(self.url, f"serves {about.model!r}, not {stated.model!r}")
        if None not in (stated.revision, about.revision) and stated.revision != about.revision:
            reason = f"serves revision {about.revision!r}, not {stated.revision!r}"
            raise InvalidAnswer(self.url, reason)
        revision = about.revision or stated.revision
        limits = [limit for limit in (stated.tokens_max, about.tokens_max) if limit]
        unknown = {"revision": ("no revision", revision), "tokens_max": ("no longest row", limits)}
        missing = {name: words for name, (words, found) in unknown.items() if not found}
        if missing:
            reason = f"reports {' and '.join(missing.values())}: {state(*missing)}"
            raise InvalidAnswer(self.url, reason)
        assert revision
        return revision, min(limits)

    def _probed(self, found: Matrix) -> int:
        """Check with two vectors that the engine is set up as addressed; return their width."""
        width = int(found.shape[1])
        lengths = np.linalg.norm(found, axis=1)
        if np.array_equal(found[0], found[1]):
            raise InvalidAnswer(self.url, "returns the same vector for two texts")
        if self._heads is None:
            if (np.abs(lengths - 1) > _UNIT_TOLERANCE).any():
                reason = f"vectors of length {lengths.max():.4g}: its normalization is off"
                raise InvalidAnswer(self.url, reason)
            return width
        if width != self._heads.hidden:
            reason = f"vectors of {width}, but the heads need {self._heads.hidden}"
            raise InvalidAnswer(self.url, reason)
        if (np.abs(lengths - 1) < _UNPOOLED_TOLERANCE).all():
            raise InvalidAnswer(self.url, "pooled vectors of length 1: its normalization is on")
        return width

    async def _compute(
        self,
        rows: Sequence[TokenRow],
        about: About,
        width: int | None,
        named: Mapping[str, str],
    ) -> Matrix:
        """Get the engine's own vectors: rows x width. `width` is None until it is known."""
        try:
            items = await asyncio.to_thread(self._dialect.items, rows)
        except NotText as error:
            raise BeyondWorker(self.url, str(error)) from None
        row_bytes_max = (width or _WIDTH_MAX) * _FLOAT_CHARACTERS_MAX
        found: list[Matrix] = []
        headers = {"content-type": "application/json", **named}
        start = 0
        for part in self._parts(items, about):
            taken = rows[start : start + len(part)]
            start += len(part)
            answer = await self._client.post(
                self._dialect.path,
                self._dialect.body(part, about),
                headers=headers,
                bytes_max=len(part) * row_bytes_max + _ANSWER_BYTES_MORE,
            )
            found.append(self._read(answer, taken, about))
        widths = {part.shape[1] for part in found}
        if widths - {width} and (width or len(widths) > 1):
            raise InvalidAnswer(self.url, f"vectors of {sorted(widths)}, not {width} as before")
        return np.concatenate(found) if found else np.empty((0, width or 0), "<f4")

    def _read(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:
        try:
            return self._dialect.vectors(answer, rows, about)
        except Malformed as error:
            raise InvalidAnswer(self.url, str(error)) from None

    def _parts(self, items: Sequence[bytes], about: About) -> Iterator[Sequence[bytes]]:
        """Split a call into calls that the engine accepts."""
        room = self._dialect.body_bytes_max - len(self._dialect.body([], about))
        start, size = 0, 0
        for index, item in enumerate(items):
            if len(item) > room:
                raise BeyondWorker(self.url, f"row {index} takes {len(item)} bytes; {room} fit")
            if index - start >= about.rows_max or size + len(item) + 1 > room:
                yield items[start:index]
                start, size = index, 0
            size += len(item) + 1
        if items:
            yield items[start:]

    async def _finished(self, rows: Sequence[TokenRow], found: Matrix) -> list[memoryview]:
        """Return each row's vector as bytes, after its head if there are heads."""
        if self._heads is None:
            return [memoryview(vector.tobytes()) for vector in found]
        vectors = [memoryview(b"")] * len(rows)
        for dimensions in {row.dimensions for row in rows}:
            indexes = [i for i, row in enumerate(rows) if row.dimensions == dimensions]
            pooled = found[indexes]
            if pooled.size * dimensions < _THREAD_PRODUCTS_MIN:
                units = self._heads.apply(pooled, dimensions)
            else:
                units = await asyncio.to_thread(self._heads.apply, pooled, dimensions)
            if not np.isfinite(units).all():
                raise InvalidAnswer(self.url, "pooled vectors that overflow in the heads")
            for index, unit in zip(indexes, units, strict=True):
                vectors[index] = memoryview(unit.astype("<f4").tobytes())
        return vectors


class Dialect(Protocol):
    """The protocol of one kind of engine."""

    path: str
    body_bytes_max: int
    vocabulary_sha256: str

    async def about(self, client: WorkerClient) -> About:
        """Ask the engine what it serves. Raises BackendError, Malformed."""
        ...

    def items(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Write each row as the engine's JSON. Runs on a thread. Raises NotText."""
        ...

    def body(self, items: Sequence[bytes], about: About) -> bytes:
        """Write one call."""
        ...

    def vectors(self, answer: Answer, rows: Sequence[TokenRow], about: About) -> Matrix:
        """Read the rows' vectors: rows x width, finite and not zero. Raises Malformed."""
        ...


class About(NamedTuple):
    """What an engine reports about itself."""

    model: str
    revision: str | None
    dtype: str
    tokens_max: int | None
    rows_max: int


class _Proven(NamedTuple):
    about: About
    width: int
    info: WorkerInfo


def _headers(address: EngineAddress) -> dict[str, str]:
    return {"authorization": f"Bearer {address.key}"} if address.key else {}


def decode_about(answer: Answer, shape: type[_T]) -> _T:
    """Read what an engine reports about itself. Raises Malformed."""
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except msgspec.MsgspecError as error:
        raise Malformed(f"does not report what it serves: {error}") from None
