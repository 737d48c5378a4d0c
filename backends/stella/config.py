"""Reads a checkpoint's config.json and refuses everything that this worker doesn't compute.

The published architecture has switches (activation, position embedding, layer norm type). Only the
published setting of each is implemented. Any other is refused by name, because a model with a wrong
switch computes wrong vectors without an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from backends.engine import StartupError

_SWITCHES: dict[str, tuple[Any, ...]] = {
    "model_type": ("new",),
    "hidden_act": ("gelu",),
    "layer_norm_type": ("layer_norm",),
    "position_embedding_type": ("rope",),
    "pack_qkv": (True,),
    "logn_attention_scale": (False, None),
    "logn_attention_clip1": (False, None),
}
_JSON_BYTES_MAX = 1_000_000


class StellaConfig(msgspec.Struct, frozen=True):
    """The sizes of one checkpoint. Field names are those of config.json."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    type_vocab_size: int
    max_position_embeddings: int
    layer_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


class RopeScaling(msgspec.Struct, frozen=True):
    """NTK scaling of the rotary embedding's base."""

    type: str
    factor: float


class WrongCheckpoint(StartupError):
    """The folder isn't the model that this worker computes; the message names what differs."""


def read_config(path: Path) -> StellaConfig:
    """Read config.json. Raises WrongCheckpoint, naming the first thing that differs."""
    raw = read_json(path)
    for name, accepted in _SWITCHES.items():
        if raw.get(name) not in accepted:
            raise WrongCheckpoint(
                f"{path}: {name} is {raw.get(name)!r}, this worker computes {accepted[0]!r}"
            )
    try:
        config = msgspec.convert(raw, StellaConfig)
    except msgspec.ValidationError as error:
        raise WrongCheckpoint(f"{path}: {error}") from None
    if config.rope_scaling.type != "ntk":
        raise WrongCheckpoint(
            f"{path}: rope_scaling type is {config.rope_scaling.type!r}, this worker computes 'ntk'"
        )
    if config.hidden_size % config.num_attention_heads or config.head_size % 2:
        raise WrongCheckpoint(
            f"{path}: hidden_size {config.hidden_size} doesn't split into "
            f"{config.num_attention_heads} heads of an even width"
        )
    return config


def read_json(path: Path) -> dict[str, Any]:
    """Read a small JSON object. Raises WrongCheckpoint if it is missing or not an object."""
    try:
        with path.open("rb") as file:
            value = msgspec.json.decode(file.read(_JSON_BYTES_MAX))
    except FileNotFoundError:
        raise WrongCheckpoint(f"{path} is missing") from None
    except msgspec.DecodeError as error:
        raise WrongCheckpoint(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WrongCheckpoint(f"{path} is not a JSON object")
    return value
