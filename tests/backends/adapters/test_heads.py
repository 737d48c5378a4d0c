"""Stella's heads: exact within the published tolerance, and nothing else is accepted as one."""

import struct
from pathlib import Path

import numpy as np
import pytest

from backends.adapters.heads import DenseHeads, WrongHeads
from tests.backends.standins.heads import applied, write_heads, write_tensors

FP32_MAX = 5e-7


@pytest.fixture
def pooled() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((40, 64)).astype("<f4") * 3


@pytest.mark.parametrize("dimensions", [256, 512, 768, 1024])
def test_they_are_exact_to_the_published_mark(tmp_path: Path, pooled: np.ndarray, dimensions: int):
    heads = DenseHeads(write_heads(tmp_path, 64, (256, 768, 1024)))
    assert heads.dimensions == (256, 512, 768, 1024)
    found = heads.apply(pooled, dimensions)
    assert found.dtype == np.float32
    expected = np.array([applied(tmp_path, row, dimensions) for row in pooled])
    assert np.abs(found - expected).max() <= FP32_MAX


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_heads_stored_in_halves_are_widened(tmp_path: Path, pooled: np.ndarray, dtype: str):
    """Small integers are exact in every format, so the answers must be identical bit by bit."""
    weight = np.random.default_rng(3).integers(-9, 9, (8, 64)).astype("<f4")
    bias = np.arange(8, dtype="<f4")
    write_heads(tmp_path, 64, (8,))
    path = tmp_path / "2_Dense_8" / "model.safetensors"
    write_tensors(path, {"linear.weight": weight, "linear.bias": bias})
    expected = DenseHeads(tmp_path).apply(pooled, 8)
    halves = {
        name: value.astype("<f2") if dtype == "F16" else (value.view("<u4") >> 16).astype("<u2")
        for name, value in (("linear.weight", weight), ("linear.bias", bias))
    }
    write_tensors(path, halves, dtype)
    assert np.array_equal(DenseHeads(tmp_path).apply(pooled, 8), expected)


def test_512_is_derived_only_where_it_is_not_native(tmp_path: Path, pooled: np.ndarray):
    heads = DenseHeads(write_heads(tmp_path, 64, (512, 1024)))
    assert heads.dimensions == (512, 1024)
    found = heads.apply(pooled, 512)[0]
    assert found == pytest.approx(applied(tmp_path, pooled[0], 512), abs=FP32_MAX)
    assert DenseHeads(write_heads(tmp_path / "other", 64, (768,))).dimensions == (768,)


def test_heads_of_two_models_are_refused(tmp_path: Path):
    write_heads(tmp_path, 64, (256,))
    write_heads(tmp_path, 32, (768,))
    with pytest.raises(WrongHeads, match=r"\[32, 64\]"):
        DenseHeads(tmp_path)


def replaced(tensors: dict[str, np.ndarray], dtype: str = "F32"):
    return lambda path: write_tensors(path, tensors, dtype)


WEIGHT, BIAS = np.ones((8, 4), "<f4"), np.ones(8, "<f4")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"short"), "not a safetensors file"),
        (lambda path: path.write_bytes(bytes(100)), "not a safetensors file"),
        (lambda path: path.write_bytes(struct.pack("<Q", 4) + b"oops"), "not a safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "does not fit its file"),
        (replaced({"linear.weight": WEIGHT}), "no 'linear.bias'"),
        (replaced({"linear.weight": WEIGHT[:7], "linear.bias": BIAS[:7]}), "not a head of 8"),
        (replaced({"linear.weight": WEIGHT, "linear.bias": BIAS[:7]}), "not a head of 8"),
        (replaced({"linear.weight": WEIGHT, "linear.bias": BIAS}, "F64"), "is F64"),
        (replaced({"linear.weight": WEIGHT, "linear.bias": BIAS * np.nan}), "NaN"),
    ],
)
def test_a_spoiled_file_is_refused(tmp_path: Path, spoil, reason: str):
    write_heads(tmp_path, 4, (8,))
    spoil(tmp_path / "2_Dense_8" / "model.safetensors")
    with pytest.raises(WrongHeads, match=reason):
        DenseHeads(tmp_path)
