"""A model that doesn't fit is refused with both figures, before weights are read."""

import pytest
import torch

from backends.stella.checkpoint import Checkpoint
from backends.stella.memory import NotEnoughMemory, check_memory
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
