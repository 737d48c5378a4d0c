"""The vectors that a stand-in computes for ids."""

import struct
from collections.abc import Sequence

import numpy as np

from backends.fake import vector

POOLED_LENGTH = 7.0
"""Length of a pooled vector: anything but 1."""


def normalised(ids: Sequence[int], width: int) -> np.ndarray:
    return np.frombuffer(vector(struct.pack(f"<{len(ids)}I", *ids), width), "<f4")


def pooled(ids: Sequence[int], width: int) -> np.ndarray:
    return (normalised(ids, width) * np.float32(POOLED_LENGTH)).astype("<f4")
