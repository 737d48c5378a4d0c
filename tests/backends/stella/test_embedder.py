"""A row that overflows in half precision is computed again; overflowing again is an error."""

import numpy as np
import pytest
import torch

from backends.protocol import TokenRow
from backends.stella.checkpoint import Checkpoint
from backends.stella.embedder import Embedder, NotFinite
from backends.stella.model import Heads, Packed, Trunk
from tests.backends.stella.golden_set import TINY, Golden

CPU = torch.device("cpu")
GOLDEN = Golden(TINY)
ROWS = [TokenRow(GOLDEN.ids(i), 256) for i in range(8)]


def load(dtype: torch.dtype) -> tuple[Trunk, Heads]:
    return Checkpoint(TINY).load(CPU, dtype, lambda _: None)


def embedder(trunk: Trunk, heads: Heads, dtype: torch.dtype, recomputed: list[int]) -> Embedder:
    return Embedder(
        trunk, heads, dtype=dtype, device=CPU, vocabulary_size=30_522,
        on_recomputed=recomputed.append,
    )  # fmt: skip


def test_only_the_rows_that_overflow_are_computed_again():
    """One word's embedding is at the limit of half precision: its sum with the type overflows."""
    recomputed: list[int] = []
    half, heads = load(torch.float16)
    word = int(np.frombuffer(ROWS[3].ids, "<u4")[2])
    others = [i for i, row in enumerate(ROWS) if word not in np.frombuffer(row.ids, "<u4")]
    assert 3 not in others
    assert len(others) >= 4
    with torch.no_grad():
        half.embeddings.token_type_embeddings.weight[0] = 32.0
        half.embeddings.word_embeddings.weight[word] = 65_504.0
        half.embeddings.word_embeddings.weight[word, ::2] = -1.0
    found = embedder(half, heads, torch.float16, recomputed).embed(ROWS)
    assert recomputed == [len(ROWS) - len(others)]
    exact = embedder(half.float(), heads, torch.float32, []).embed(ROWS)
    for index, (one, other) in enumerate(zip(found, exact, strict=True)):
        a, b = np.frombuffer(one, "<f4"), np.frombuffer(other, "<f4")
        if index in others:
            assert a @ b > 0.999
            assert (a != b).any()
        else:
            assert np.abs(a - b).max() <= 5e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_poisoned_weight_gives_no_vector(dtype: torch.dtype):
    trunk, heads = load(dtype)
    with torch.no_grad():
        trunk.encoder.layer[1].mlp.down_proj.weight[3, 5] = float("nan")
    with pytest.raises(NotFinite):
        embedder(trunk, heads, dtype, []).embed(ROWS)


class Scarce(Trunk):
    """Has no memory for more than so many rows at once."""

    rows_max: int
    batches: list[int]

    def pool(self, packed: Packed, dtype: torch.dtype) -> torch.Tensor:
        self.batches.append(len(packed.sizes))
        if len(packed.sizes) > self.rows_max:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().pool(packed, dtype)


@pytest.mark.parametrize(("rows_max", "batches"), [(8, [8]), (4, [8, 4, 4]), (3, [8, 4])])
def test_a_batch_that_does_not_fit_is_split_once(rows_max: int, batches: list[int]):
    trunk, heads = load(torch.float32)
    expected = embedder(trunk, heads, torch.float32, []).embed(ROWS)
    trunk.__class__ = Scarce
    trunk.rows_max, trunk.batches, told = rows_max, [], []
    scarce = Embedder(
        trunk, heads, dtype=torch.float32, device=CPU, vocabulary_size=30_522,
        on_out_of_memory=lambda: told.append(1),
    )  # fmt: skip
    if rows_max < 4:
        with pytest.raises(torch.OutOfMemoryError):
            scarce.embed(ROWS)
    else:
        for one, other in zip(scarce.embed(ROWS), expected, strict=True):
            a, b = np.frombuffer(one, "<f4"), np.frombuffer(other, "<f4")
            assert np.abs(a - b).max() <= 5e-7
    assert trunk.batches == batches
    assert len(told) == (rows_max < 8)
