"""Cards: everything about a model except its state and price, as models.toml says it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.snapshots import State

_FILE = Path(__file__).parent / "models.toml"


_DOCUMENT_PROMPTS = ("document", "passage", "search_document")


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a model except its state and price.

    Version 0.1 reads stored cards too, and refuses one with another field or without a vocabulary.
    """

    owned_by: str
    license: str
    dimensions: list[int]
    dimensions_default: int
    derived_dimensions: dict[int, int] = {}
    tokens_max: int
    vocabulary_sha256: str = ""
    """Empty until the model's tokens can be counted here."""
    prompts: dict[str, str] = {}
    query_prompt: str | None = None

    def __post_init__(self) -> None:
        if self.dimensions_default not in self.dimensions:
            raise ValueError("dimensions_default is not one of the dimensions")
        if not set(self.derived_dimensions) <= set(self.dimensions):
            raise ValueError("a derived dimension is not one of the dimensions")
        if self.query_prompt is not None and self.query_prompt not in self.prompts:
            raise ValueError("query_prompt is not one of the prompts")

    @property
    def document_prompt(self) -> str | None:
        """The prompt of what is searched, by the names that authors give it."""
        return next((name for name in _DOCUMENT_PROMPTS if name in self.prompts), None)


class ReviewedModel(ModelCard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of models.toml."""

    id: str
    state: State
    nanos_per_million_tokens: int
    flex_nanos_per_million_tokens: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state == "live" and not self.vocabulary_sha256:
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
