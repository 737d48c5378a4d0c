"""Golden checkpoints: folders in the published layout, with texts and their expected vectors."""

import json
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent / "golden"
TINY = HERE / "tiny"
REAL = HERE / "real"

FP32_MAX = 5e-7
FP16_MAX, FP16_COSINE = 5e-4, 0.99999
BF16_COSINE = 0.9998


@dataclass(frozen=True)
class Golden:
    folder: Path

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / "expected.json").read_text())["rows"]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "expected.npz") as archive:
            return dict(archive)

    @cached_property
    def native(self) -> list[int]:
        return sorted(int(path.name[8:]) for path in self.folder.glob("2_Dense_*"))

    @cached_property
    def dimensions(self) -> list[int]:
        return sorted({*self.native, 512} if 1024 in self.native else self.native)

    def ids(self, row: int) -> bytes:
        return self.arrays[f"ids_{row}"].astype("<u4").tobytes()

    @lru_cache  # noqa: B019 - a handful of golden sets, alive as long as the tests
    def expected(self, dimensions: int) -> np.ndarray:
        """Unit vectors, rows x dimensions: the stored ones, else head and mean in float64."""
        if f"norm_{dimensions}" in self.arrays:
            return self.arrays[f"norm_{dimensions}"]
        import torch  # here, because the fragile worker imports this module without torch
        from safetensors.torch import load_file

        source = 1024 if dimensions == 512 and 512 not in self.native else dimensions
        head = load_file(self.folder / f"2_Dense_{source}" / "model.safetensors")
        weight, bias = (
            head[f"linear.{name}"].to(torch.float64).numpy() for name in ("weight", "bias")
        )
        raw = (self.arrays["pooled_fp64"] @ weight.T + bias)[:, :dimensions]
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def check(found: np.ndarray, expected: np.ndarray, dtype: str) -> float:
    """Check vectors against the dtype's tolerance; returns the largest difference."""
    difference = float(np.abs(found - expected).max())
    cosine = float((found.astype(np.float64) * expected).sum(axis=-1).min())
    match dtype:
        case "float32":
            assert difference <= FP32_MAX
        case "float16":
            assert difference <= FP16_MAX
            assert cosine >= FP16_COSINE
        case "bfloat16":
            assert cosine >= BF16_COSINE
    return difference


def golden_folders() -> list[Any]:
    """The repository's own, and those in STELLA_GOLDEN_DIR."""
    params: list[Any] = [pytest.param(TINY, id="tiny")]
    if named := os.environ.get("STELLA_GOLDEN_DIR"):
        more = sorted(path.parent for path in Path(named).glob("*/expected.npz"))
        return params + [pytest.param(path, id=path.name) for path in more]
    reason = "STELLA_GOLDEN_DIR names no folder of further golden checkpoints"
    return [*params, pytest.param(None, id="further", marks=pytest.mark.skip(reason=reason))]
