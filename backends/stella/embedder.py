"""Turns token ids into unit vectors: one trunk pass for the batch, then each row's own head.

A row whose mean contains NaN or infinity (half precision can overflow) is computed again, alone, in
float32. If that is not finite either, the weights or the device are broken: `NotFinite`.

A batch for which the device has no memory is computed once more, in halves: other users of the
device may leave less than was free at the start, and that is no reason to end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from backends.protocol import TokenRow
from backends.stella.model import Heads, Trunk, pack


class NotFinite(Exception):
    """A vector contains NaN or infinity even in float32."""


class Embedder:
    """The model on its device. Not thread-safe: one thread computes."""

    def __init__(
        self,
        trunk: Trunk,
        heads: Heads,
        *,
        dtype: torch.dtype,
        device: torch.device,
        vocabulary_size: int,
        on_recomputed: Callable[[int], None] = lambda _: None,
        on_out_of_memory: Callable[[], None] = lambda: None,
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self._trunk = trunk
        self._heads = heads
        self._dtype = dtype
        self._device = device
        self._on_recomputed = on_recomputed
        self._on_out_of_memory = on_out_of_memory

    def embed(self, rows: Sequence[TokenRow]) -> list[bytes]:
        """Compute raw little-endian float32 vectors, in order.

        Raises NotFinite, and OutOfMemoryError if the halves of the batch don't fit either.
        """
        try:
            return self._embed(rows)
        except torch.OutOfMemoryError:
            self._on_out_of_memory()
        # only here has the error released the tensors that were made
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        half = (len(rows) + 1) // 2
        return [
            vector for part in (rows[:half], rows[half:]) if part for vector in self._embed(part)
        ]

    @torch.inference_mode()
    def _embed(self, rows: Sequence[TokenRow]) -> list[bytes]:
        pooled = self._pool([np.frombuffer(row.ids, dtype="<u4") for row in rows])
        vectors = [b""] * len(rows)
        for dimensions in {row.dimensions for row in rows}:
            chosen = [index for index, row in enumerate(rows) if row.dimensions == dimensions]
            unit = self._heads(pooled[chosen], dimensions).cpu().numpy().astype("<f4", copy=False)
            if not np.isfinite(unit).all():
                raise NotFinite(f"a vector of {dimensions} dimensions is not finite in float32")
            for index, vector in zip(chosen, unit, strict=True):
                vectors[index] = vector.tobytes()
        return vectors

    def _pool(self, ids: list[np.ndarray[tuple[int], np.dtype[np.uint32]]]) -> torch.Tensor:
        pooled = self._trunk.pool(pack(ids, self._device), self._dtype)
        if self._dtype == torch.float32:
            return pooled  # `embed` checks the heads' result
        overflown = (~torch.isfinite(pooled).all(dim=1)).nonzero()[:, 0].tolist()
        for index in overflown:
            pooled[index] = self._trunk.pool(pack([ids[index]], self._device), torch.float32)[0]
        if overflown:
            self._on_recomputed(len(overflown))
        return pooled
