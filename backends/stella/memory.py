"""Checks, before weights are read, that the model fits into memory: an error beats an OOM kill."""

from __future__ import annotations

from pathlib import Path

import torch

from backends.engine import StartupError
from backends.stella.checkpoint import Checkpoint
from backends.stella.queue import BATCH_FLOATS_MAX

_HEADROOM = 1.1
"""A margin for what isn't counted: allocator slack and kernel workspaces."""
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def check_memory(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_tokens: int,
    free_bytes: int | None = None,
) -> str:
    """Compare the memory needed with what is free; returns a report. Raises NotEnoughMemory."""
    needed = _needed_bytes(checkpoint, dtype, batch_tokens)
    if free_bytes is None:
        free_bytes = free_memory_bytes(device)
    if free_bytes is None:
        return f"memory: {_gigabytes(needed)} needed, what is free on {device} is unknown"
    text = f"memory: {_gigabytes(needed)} needed, {_gigabytes(free_bytes)} free on {device}"
    if needed > free_bytes:
        raise NotEnoughMemory(f"{text}; lower --batch-tokens, or take --dtype float16")
    return text


class NotEnoughMemory(StartupError):
    """The weights and one batch don't fit; the message gives both figures."""


def _needed_bytes(checkpoint: Checkpoint, dtype: torch.dtype, batch_tokens: int) -> int:
    config = checkpoint.config
    trunk = sum(torch.Size(shape).numel() for shape in checkpoint.trunk_shapes.values())
    heads = sum((config.hidden_size + 1) * size for size in checkpoint.native)
    # one tensor as stored in the file (at most float32) while it is converted
    staging = 4 * max(torch.Size(shape).numel() for shape in checkpoint.trunk_shapes.values())
    # at a layer's peak: residual, q, k, v, their mix, up, gate and the product of both in `dtype`;
    # the rotation's terms in float32
    token = dtype.itemsize * (8 * config.hidden_size + 4 * config.intermediate_size)
    token += 4 * 8 * config.hidden_size
    # after the trunk: the means in float32, once as computed and once by head; the vectors twice
    token += 4 * 2 * config.hidden_size
    vectors = 4 * 2 * max(BATCH_FLOATS_MAX, *checkpoint.native)
    total = dtype.itemsize * trunk + 4 * heads + staging + token * batch_tokens + vectors
    return int(total * _HEADROOM)


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the free memory of the model's device; None if it can't be found out."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    if not _MEMINFO.exists():
        return None
    lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    free = 1024 * int(lines["MemAvailable"].split()[0])
    try:  # a container's limit overrides the machine's memory
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        return free
    return min(free, limit - used)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
