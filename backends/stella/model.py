"""The model: a post-LN transformer over packed tokens, a mean, and one linear head per dimension.

Rows are laid end to end without padding, so that the linear layers (94 % of the work at 512
tokens) compute only real tokens and nothing can leak from padding. Only attention knows about rows:
`varlen_attn` on CUDA in half precision, elsewhere one SDPA call per row.

The caller chooses the dtype of the activations: weights are cast to it where they are used, a no-op
if they agree. So a row that overflows in float16 can be computed again in float32 without a
second copy of the weights. Rotary tables, mean, heads and normalization are always float32.

Attribute names follow the published keys (https://huggingface.co/NovaSearch/stella_en_400M_v5),
so that `state_dict` lists the tensors and shapes that a checkpoint must contain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from backends.stella.config import StellaConfig


@dataclass(frozen=True)
class Packed:
    """Rows end to end, on the model's device."""

    ids: Tensor
    """Token ids, int64, tokens."""
    positions: Tensor
    """Position of each token in its row, int64, tokens."""
    lengths: Tensor
    """Tokens of each row, int64, rows."""
    offsets: Tensor
    """Where each row starts, and the end: int32, rows + 1."""
    sizes: list[int]
    """`lengths` on the host."""


def pack(rows: Sequence[npt.NDArray[np.uint32]], device: torch.device) -> Packed:
    """Lay the rows end to end. Every row has at least one token."""
    sizes = [len(row) for row in rows]
    lengths = np.array(sizes, dtype=np.int64)
    ends = np.cumsum(lengths)
    positions = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return Packed(
        ids=torch.from_numpy(np.concatenate(rows).astype(np.int64)).to(device),
        positions=torch.from_numpy(positions).to(device),
        lengths=torch.from_numpy(lengths).to(device),
        offsets=torch.from_numpy(offsets).to(device),
        sizes=sizes,
    )


class Trunk(nn.Module):
    """Everything before the heads: `pool` turns packed tokens into one vector a row."""

    def __init__(self, config: StellaConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = InputEmbeddings(config)
        self.layers = [Layer(config) for _ in range(config.num_hidden_layers)]
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(self.layers)
        self._rotary: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def pool(self, packed: Packed, dtype: torch.dtype) -> Tensor:
        """Compute the mean hidden state of each row: float32, rows x hidden."""
        hidden = self.hidden(packed, dtype).float()
        return torch.segment_reduce(hidden, "mean", lengths=packed.lengths, axis=0)

    @torch.inference_mode()
    def hidden(self, packed: Packed, dtype: torch.dtype) -> Tensor:
        """Compute the last hidden state of each token: `dtype`, tokens x hidden."""
        cosines, sines = (table[packed.positions][:, None, None] for table in self._tables(packed))
        hidden: Tensor = self.embeddings(packed.ids, dtype)
        for layer in self.layers:
            hidden = layer(hidden, packed, cosines, sines)
        return hidden

    def _tables(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """Return cos and sin for every position (float32, positions x head size), computed once."""
        if self._rotary is None:
            self._rotary = rotary_tables(self.config, packed.ids.device)
        return self._rotary


def rotary_tables(config: StellaConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute cos and sin of every angle, with the NTK scaling of the published code.

    frequency_i = (theta * factor) ** (-2i / d) / factor ** (2 / d), d the head's width.
    """
    size, factor = config.head_size, config.rope_scaling.factor
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    frequencies = (config.rope_theta * factor) ** -exponents / factor ** (2 / size)
    places = torch.arange(config.max_position_embeddings, dtype=torch.float32, device=device)
    angles = torch.outer(places, frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


class Table(nn.Module):
    """A weight and its bias, named as in the checkpoint. Never initialized, always loaded."""

    def __init__(self, *shape: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(shape[:1]), requires_grad=False) if bias else None


class InputEmbeddings(nn.Module):
    """Word plus token type 0, normalized. Positions come only from the rotation."""

    def __init__(self, config: StellaConfig) -> None:
        super().__init__()
        self.word_embeddings = Table(config.vocab_size, config.hidden_size, bias=False)
        self.token_type_embeddings = Table(config.type_vocab_size, config.hidden_size, bias=False)
        self.LayerNorm = Table(config.hidden_size)
        self.eps = config.layer_norm_eps

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """Return tokens x hidden."""
        words = functional.embedding(ids, self.word_embeddings.weight).to(dtype)
        kind = self.token_type_embeddings.weight[0].to(dtype)
        return _normalize(words + kind, self.LayerNorm, self.eps)


class Layer(nn.Module):
    """One block. The norm comes after each residual sum, and there is none at the end."""

    def __init__(self, config: StellaConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = GatedMLP(config)
        self.attn_ln = Table(config.hidden_size)
        self.mlp_ln = Table(config.hidden_size)
        self.eps = config.layer_norm_eps

    def forward(self, hidden: Tensor, packed: Packed, cosines: Tensor, sines: Tensor) -> Tensor:
        """Return tokens x hidden."""
        attended = self.attention(hidden, packed, cosines, sines)
        hidden = _normalize(hidden + attended, self.attn_ln, self.eps)
        return _normalize(hidden + self.mlp(hidden), self.mlp_ln, self.eps)


class Attention(nn.Module):
    """Bidirectional attention inside each row."""

    def __init__(self, config: StellaConfig) -> None:
        super().__init__()
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        self.qkv_proj = Table(3 * config.hidden_size, config.hidden_size)
        self.o_proj = Table(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, packed: Packed, cosines: Tensor, sines: Tensor) -> Tensor:
        """Return tokens x hidden."""
        qkv = _linear(hidden, self.qkv_proj).view(-1, 3, self.heads, self.head_size)
        turned = _rotate(qkv[:, :2].float(), cosines, sines).to(hidden.dtype)
        mixed = _attend(turned[:, 0], turned[:, 1], qkv[:, 2], packed)
        return _linear(mixed.reshape(hidden.shape), self.o_proj)


class GatedMLP(nn.Module):
    """GeGLU. Of `up_gate_proj` the first half is up, the second half the gate."""

    def __init__(self, config: StellaConfig) -> None:
        super().__init__()
        self.up_gate_proj = Table(2 * config.intermediate_size, config.hidden_size, bias=False)
        self.down_proj = Table(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return tokens x hidden."""
        up, gate = _linear(hidden, self.up_gate_proj).chunk(2, dim=-1)
        return _linear(functional.gelu(gate) * up, self.down_proj)


class Heads(nn.Module):
    """One independent linear map per dimension; none is a slice of another."""

    DERIVED, SOURCE = 512, 1024
    """The published pages promise 512, but the checkpoint has no such head: it is derived, as the
    first 512 components of the 1024 head, normalized again."""

    def __init__(self, hidden_size: int, native: Sequence[int]) -> None:
        super().__init__()
        self.linear = nn.ModuleDict({str(size): Table(size, hidden_size) for size in native})
        derived = {self.DERIVED} if self.SOURCE in native else set()
        self.dimensions = tuple(sorted({*native, *derived}))

    @torch.inference_mode()
    def forward(self, pooled: Tensor, dimensions: int) -> Tensor:
        """Return unit vectors: float32, rows x dimensions."""
        native = str(dimensions) in self.linear
        head = self.linear[str(dimensions if native else self.SOURCE)]
        vectors = _linear(pooled, head)[:, :dimensions]
        norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        return vectors / norms


def _attend(query: Tensor, key: Tensor, value: Tensor, packed: Packed) -> Tensor:
    """Attend within each row; all are tokens x heads x head size."""
    if query.is_cuda and query.dtype != torch.float32:
        # imported here: it takes two seconds, and CPUs don't need it
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415

        longest = max(packed.sizes)
        # positional, because the keywords were renamed between torch versions
        mixed = varlen_attn(query, key, value, packed.offsets, packed.offsets, longest, longest)
        return cast("Tensor", mixed)
    mixed = torch.empty_like(query)
    start = 0
    for size in packed.sizes:
        row = slice(start, start + size)
        q, k, v = (part[row].transpose(0, 1)[None] for part in (query, key, value))
        mixed[row] = functional.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)
        start += size
    return mixed


def _rotate(pairs: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate halves: (a, b) becomes (a cos - b sin, b cos + a sin)."""
    first, second = pairs.chunk(2, dim=-1)
    return pairs * cosines + torch.cat((-second, first), dim=-1) * sines


def _linear(values: Tensor, table: nn.Module) -> Tensor:
    weight, bias = _as(table, values.dtype)
    return functional.linear(values, weight, bias)


def _normalize(values: Tensor, table: nn.Module, eps: float) -> Tensor:
    weight, bias = _as(table, values.dtype)
    return functional.layer_norm(values, values.shape[-1:], weight, bias, eps)


def _as(table: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    assert isinstance(table, Table)
    return table.weight.to(dtype), None if table.bias is None else table.bias.to(dtype)
