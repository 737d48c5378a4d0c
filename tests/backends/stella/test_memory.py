"""A model that doesn't fit is refused with both figures, before weights are read."""

import pytest
import torch

from backends.stella.calibration import calibrate
from backends.stella.checkpoint import Checkpoint
from backends.stella.memory import NotEnoughMemory, check_memory
from backends.stella.queue import BATCH_FLOATS_MAX
from tests.backends.stella.golden_set import TINY

CPU = torch.device("cpu")


def test_too_little_is_refused_with_figures_and_a_way_out():
    with pytest.raises(NotEnoughMemory, match=r"\d GB needed, 0.00 GB free.*--batch-tokens"):
        check_memory(
            Checkpoint(TINY), device=CPU, dtype=torch.float32, batch_tokens=512, free_bytes=10**6
        )


def test_a_larger_batch_needs_more():
    said = [
        check_memory(Checkpoint(TINY), device=CPU, dtype=torch.float32, batch_tokens=tokens)
        for tokens in (512, 1 << 19)
    ]
    needed = [float(text.split()[1]) for text in said]
    assert needed[0] < needed[1]
    assert all("GB free on cpu" in text for text in said)


def test_the_widest_batches_are_tried_before_a_worker_serves():
    """Rows of one word: as many as a batch may have, and with as many numbers."""
    tried: list[tuple[int, int]] = []

    def embed(rows):
        tried.append((len(rows), rows[0].dimensions))
        return []

    dimensions = [256, 1024, 8192]
    calibrate(
        embed, dimensions=dimensions, row_tokens=512, batch_tokens=16_384, progress=lambda _: None
    )
    assert tried[-2:] == [(5461, 256), (512, 8192)]
    assert all(rows * size <= BATCH_FLOATS_MAX for rows, size in tried)
