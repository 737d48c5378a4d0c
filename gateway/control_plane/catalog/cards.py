"""Cards: everything about a model except its state and price, as models.toml says it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.snapshots import State

_FILE = Path(__file__).parent / "models.toml"


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a model except its state and price."""

    owned_by: str
    license: str
    dimensions: list[int]
    dimensions_default: int
    derived_dimensions: dict[int, int] = {}
    tokens_max: int
    vocabulary_sha256: str | None = None
    prompts: dict[str, str] = {}
    query_prompt: str | None = None
    document_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.dimensions_default not in self.dimensions:
            raise ValueError("dimensions_default is not one of the dimensions")
        if not set(self.derived_dimensions) <= set(self.dimensions):
            raise ValueError("a derived dimension is not one of the dimensions")
        for field in ("query_prompt", "document_prompt"):
            if (prompt := getattr(self, field)) is not None and prompt not in self.prompts:
                raise ValueError(f"{field} is not one of the prompts")


class ReviewedModel(ModelCard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of models.toml."""

    id: str
    state: State
    nanos_per_million_tokens: int
    flex_nanos_per_million_tokens: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state == "live" and self.vocabulary_sha256 is None:
            raise ValueError("a live model needs a vocabulary_sha256, which counts its tokens")


def reviewed() -> list[ReviewedModel]:
    """Read models.toml."""
    tables = msgspec.toml.decode(
        _FILE.read_bytes(), type=dict[str, list[ReviewedModel]], strict=False
    )
    return tables["models"]


def as_card(model: ReviewedModel) -> ModelCard:
    """Return the card of an entry of the file."""
    return msgspec.convert(model, ModelCard, from_attributes=True)
