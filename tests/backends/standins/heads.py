"""Heads in the published layout, written without the code that reads them."""

import json
from pathlib import Path

import numpy as np


def write_heads(folder: Path, hidden: int, dimensions: tuple[int, ...], seed: int = 5) -> Path:
    random = np.random.default_rng(seed)
    for size in dimensions:
        weight = random.standard_normal((size, hidden)).astype("<f4")
        bias = random.standard_normal(size).astype("<f4")
        path = folder / f"2_Dense_{size}" / "model.safetensors"
        path.parent.mkdir(parents=True)
        write_tensors(path, {"linear.bias": bias, "linear.weight": weight})
    return folder


def write_tensors(path: Path, tensors: dict[str, np.ndarray], dtype: str = "F32") -> None:
    table, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + tensor.nbytes]
        table[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        data += tensor.tobytes()
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def applied(folder: Path, pooled: np.ndarray, dimensions: int) -> np.ndarray:
    """The expected vectors, in float64: an oracle that shares no code with `backends`."""
    derived = dimensions == 512 and not (folder / "2_Dense_512").exists()
    source = 1024 if derived else dimensions
    content = (folder / f"2_Dense_{source}" / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    table, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    weight, bias = (
        np.frombuffer(data[slice(*table[name]["data_offsets"])], "<f4").astype(np.float64)
        for name in ("linear.weight", "linear.bias")
    )
    whole = weight.reshape(source, -1) @ pooled.astype(np.float64) + bias
    whole /= np.linalg.norm(whole)
    part = whole[:dimensions]
    return part / np.linalg.norm(part)
