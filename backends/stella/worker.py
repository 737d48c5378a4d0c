"""Assembles a worker: finds, checks and loads the weights, warms up, and reports each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from backends.engine import StartupError
from backends.protocol import WorkerInfo
from backends.stella.app import StellaApp
from backends.stella.calibration import Line, calibrate
from backends.stella.checkpoint import VOCABULARY_SHA256, Checkpoint
from backends.stella.embedder import Embedder
from backends.stella.engine import StellaEngine
from backends.stella.hub import find_weights
from backends.stella.memory import NotEnoughMemory, check_memory, free_memory_bytes
from backends.stella.metrics import Metrics
from backends.stella.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ROWS_MAX = 2048
"""Most rows in one call: as many inputs as OpenAI accepts."""
BATCH_TOKENS = {"cuda": 16_384, "cpu": 2048}
"""A new call waits for the current batch: 40 ms at 400,000 tokens/s, the goal for an H100, but a
second or more on a CPU."""
QUEUE_BATCHES = 16
"""The queue's default length in batches, which also bounds a call."""


class WorkerOptions(NamedTuple):
    """The command line's options; None means the device's default."""

    weights: str
    model: str
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    batch_tokens: int | None = None
    queue_tokens: int | None = None


def warm_up(
    options: WorkerOptions, app: StellaApp, metrics: Metrics, report: Callable[[str], None]
) -> StellaEngine:
    """Make the engine. `app.warming` shows the progress. Raises StartupError."""

    def progress(line: str) -> None:
        app.warming = line
        report(line)

    device = _device(options.device)
    dtype = DTYPES[options.dtype or ("float16" if device.type == "cuda" else "float32")]
    batch_tokens = options.batch_tokens or BATCH_TOKENS[device.type]
    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoint = Checkpoint(find_weights(options.weights, options.revision, progress))
    progress(check_memory(checkpoint, device=device, dtype=dtype, batch_tokens=batch_tokens))
    revision = checkpoint.fingerprint()
    tokenizer = Tokenizer(checkpoint.vocabulary)
    trunk, heads = checkpoint.load(device, dtype, progress)
    embedder = Embedder(
        trunk,
        heads,
        dtype=dtype,
        device=device,
        vocabulary_size=tokenizer.vocabulary_size,
        on_recomputed=metrics.recomputed,
        on_out_of_memory=metrics.out_of_memory,
    )
    line = _calibrated(embedder, heads.dimensions, checkpoint, batch_tokens, progress)
    info = WorkerInfo(
        model=options.model,
        revision=revision,
        dtype=str(dtype).removeprefix("torch."),
        dimensions=heads.dimensions,
        tokens_max=checkpoint.tokens_max,
        rows_max=ROWS_MAX,
        batch_tokens_max=options.queue_tokens or QUEUE_BATCHES * batch_tokens,
        vocabulary_sha256=VOCABULARY_SHA256,
        base_seconds=line.base_seconds,
        token_seconds=line.token_seconds,
    )
    progress(
        f"serving {info.model} ({revision}, {info.dtype} on {device}): "
        f"{line.base_seconds * 1000:.2f} ms + {1 / line.token_seconds:,.0f} tokens/s"
    )
    metrics.watch_memory(lambda: free_memory_bytes(device))
    engine = StellaEngine(info, embedder, metrics, batch_tokens=batch_tokens)
    app.open(engine, tokenizer, checkpoint.prompts)
    return engine


def _calibrated(
    embedder: Embedder,
    dimensions: Sequence[int],
    checkpoint: Checkpoint,
    batch_tokens: int,
    progress: Callable[[str], None],
) -> Line:
    try:
        return calibrate(
            embedder.embed,
            dimensions=dimensions,
            row_tokens=checkpoint.tokens_max,
            batch_tokens=batch_tokens,
            progress=progress,
        )
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemory(
            f"a batch of {batch_tokens} tokens doesn't fit: {error}; lower --batch-tokens"
        ) from None


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise StartupError("--device cuda: torch sees no GPU here; use --device cpu")
    return torch.device(name)
