"""Stella's heads, which the gateway applies to pooled vectors of an engine that has no heads.

embedding = L2normalize(W @ mean + b), in float32. The heads are independent linear maps, read from
the published layout: `2_Dense_<D>/model.safetensors` with `linear.weight` (D x hidden) and
`linear.bias` (D). There is no head of 512: that is the first 512 of the 1024 head, renormalized.

The safetensors format is read here, in a few lines (eight bytes of length, a JSON table, raw
little-endian numbers), because only workers install the package.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.adapters.vectors import Matrix

_FOLDER = "2_Dense_"
_DERIVED, _SOURCE = 512, 1024
_FOLDERS_MAX = 2  # kept in memory; all of Stella's heads take 92 MB
_TABLE_BYTES_MAX = 1 << 20
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class DenseHeads:
    """All heads of one folder. Raises WrongHeads, OSError."""

    def __init__(self, folder: Path) -> None:
        self._heads: dict[int, tuple[Matrix, Matrix]] = {}
        for path in sorted(folder.glob(f"{_FOLDER}*/model.safetensors")):
            dimensions = path.parent.name.removeprefix(_FOLDER)
            if not dimensions.isdigit():
                raise WrongHeads(f"{path.parent} is not {_FOLDER} and a number")
            self._heads[int(dimensions)] = _read_head(path, int(dimensions))
        if not self._heads:
            raise WrongHeads(f"{folder} has no {_FOLDER}<D>/model.safetensors")
        widths = {weight.shape[1] for weight, _ in self._heads.values()}
        if len(widths) > 1:
            raise WrongHeads(f"{folder}: heads of different models, for widths {sorted(widths)}")
        (self.hidden,) = widths
        derived = {_DERIVED} if _SOURCE in self._heads else set()
        self.dimensions = tuple(sorted(self._heads.keys() | derived))

    def apply(self, pooled: Matrix, dimensions: int) -> Matrix:
        """Map pooled vectors (rows x hidden) to unit vectors (rows x dimensions, float32)."""
        source = dimensions if dimensions in self._heads else _SOURCE
        weight, bias = self._heads[source]
        raw = pooled @ weight[:dimensions].T + bias[:dimensions]
        with np.errstate(all="ignore"):  # what can't be normalized becomes NaN, and is detected
            unit: Matrix = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        return unit


@lru_cache(maxsize=_FOLDERS_MAX)
def load_heads(folder: Path) -> DenseHeads:
    """Read a folder once for all workers that use it. Raises WrongHeads, OSError."""
    return DenseHeads(folder)


class WrongHeads(ValueError):
    """The folder does not hold the published heads; the message says why."""


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def _read_head(path: Path, dimensions: int) -> tuple[Matrix, Matrix]:
    tensors = _read_tensors(path)
    try:
        weight, bias = tensors["linear.weight"], tensors["linear.bias"]
    except KeyError as missing:
        raise WrongHeads(f"{path} has no {missing}") from None
    if weight.ndim != 2 or weight.shape[0] != dimensions or bias.shape != (dimensions,):
        raise WrongHeads(f"{path}: {weight.shape} and {bias.shape} are not a head of {dimensions}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise WrongHeads(f"{path} contains NaN or infinity")
    return weight, bias


def _read_tensors(path: Path) -> dict[str, Matrix]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= min(_TABLE_BYTES_MAX, len(content) - 8):
        raise WrongHeads(f"{path} is not a safetensors file")
    try:
        table = msgspec.json.decode(content[8 : 8 + size], type=dict[str, msgspec.Raw])
        table.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(raw, type=_Tensor) for name, raw in table.items()}
    except msgspec.MsgspecError as error:
        raise WrongHeads(f"{path} is not a safetensors file: {error}") from None
    data = memoryview(content)[8 + size :]
    return {name: _array(path, name, tensor, data) for name, tensor in tensors.items()}


def _array(path: Path, name: str, tensor: _Tensor, data: memoryview) -> Matrix:
    """Return one tensor as float32; a checkpoint may store it in half precision."""
    start, end = tensor.data_offsets
    stored = _DTYPES.get(tensor.dtype)
    if stored is None:
        raise WrongHeads(f"{path}: {name} is {tensor.dtype}, not {', '.join(_DTYPES)}")
    size = np.dtype(stored).itemsize * math.prod(tensor.shape)
    if not 0 <= start <= end <= len(data) or end - start != size:
        raise WrongHeads(f"{path}: {name} does not fit its file")
    values: NDArray[Any] = np.frombuffer(data[start:end], stored).reshape(tensor.shape)
    if tensor.dtype == "BF16":  # the upper half of a float32
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float32, copy=False)
