"""Models as the API describes them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway import money
from gateway.money import Nanos
from gateway.snapshots import ModelSnapshot, PriceSnapshot, State


class Price(msgspec.Struct, frozen=True):
    """What a million tokens cost, in strings, since floats round."""

    nanos_per_million_tokens: Nanos
    dollars_per_million_tokens: str

    @classmethod
    def of(cls, price: PriceSnapshot) -> Price:
        """Write a price in both units."""
        nanos = price.nanos_per_million_tokens
        return cls(Nanos(nanos), money.decimal(nanos))


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the catalog."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[
        int, Meta(description="When it was added to the catalog: Unix time in seconds.")
    ]
    owned_by: str
    state: Annotated[
        State, Meta(description="Only a `live` model embeds; a `coming_soon` one can be priced.")
    ]
    license: str
    price: Annotated[Price, Meta(description="What a million tokens cost.")]
    flex_price: Annotated[Price, Meta(description="The same with `service_tier: flex`.")]
    dimensions: Annotated[
        tuple[int, ...], Meta(description="The dimensions that can be requested.")
    ]
    dimensions_default: Annotated[
        int, Meta(description="What a request without `dimensions` gets.")
    ]
    dimensions_derived: Annotated[
        dict[str, int],
        Meta(description="Dimensions without a head of their own, and the head each is cut from."),
    ]
    tokens_max: Annotated[
        int,
        Meta(description="Most tokens in one input, special tokens and prompt included."),
    ]
    prompts: Annotated[
        dict[str, str],
        Meta(description="Each prompt's name, and the text that it puts in front."),
    ]
    query_prompt: Annotated[
        str | None, Meta(description="The prompt that `input_type: query` stands for.")
    ]
    document_prompt: Annotated[
        str | None, Meta(description="The prompt that `input_type: document` stands for.")
    ]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the models that are live or coming soon, the live ones first."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]
    first_id: Annotated[str | None, Meta(description="The page's first model; null: none.")]
    last_id: Annotated[str | None, Meta(description="Its last one: the next page's `after`.")]
    has_more: Annotated[bool, Meta(description="Whether there is a page after this one.")]


def entry(model: ModelSnapshot) -> ModelEntry:
    """Describe a model as the API does."""
    return ModelEntry(
        id=model.id,
        created=model.created,
        owned_by=model.owned_by,
        state=model.state,
        license=model.license,
        price=Price.of(model.price),
        flex_price=Price.of(model.price_of("flex")),
        dimensions=model.dimensions,
        dimensions_default=model.dimensions_default,
        dimensions_derived={str(k): v for k, v in model.derived_dimensions.items()},
        tokens_max=model.tokens_max,
        prompts=dict(model.prompts),
        query_prompt=model.query_prompt,
        document_prompt=model.document_prompt,
    )
