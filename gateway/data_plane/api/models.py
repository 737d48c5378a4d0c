"""GET /v1/models and /v1/models/{id}: OpenAI's fields, then price and abilities.

Public, like the pages. A key that is sent is checked all the same: tools ask here whether their
key is good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import Parameter
from msgspec import Meta

from gateway import money
from gateway.data_plane.api.hot_path import ModelNotFound
from gateway.identifiers import new_id
from gateway.money import Nanos
from gateway.snapshots import Catalog, KeySnapshot, ModelSnapshot, PriceSnapshot, State


class Price(msgspec.Struct, frozen=True):
    """What a million tokens cost, in strings, since floats round."""

    nanos_per_million_tokens: Nanos
    dollars_per_million_tokens: str

    @classmethod
    def of(cls, price: PriceSnapshot) -> Price:
        """Write a price in both units."""
        nanos = price.nanos_per_million_tokens
        return cls(Nanos(nanos), money.dollars(nanos))


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
        tuple[int, ...], Meta(description="The lengths of vector that can be requested.")
    ]
    dimensions_default: Annotated[int, Meta(description="The length without `dimensions`.")]
    dimensions_derived: Annotated[
        dict[str, int],
        Meta(description="Lengths without a head of their own, and the one each is cut from."),
    ]
    tokens_max: Annotated[
        int,
        Meta(description="Most tokens in one input, special tokens and prompt included."),
    ]
    prompts: Annotated[
        dict[str, str],
        Meta(description="Each prompt's name, and the text that it puts in front."),
    ]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models that are live or coming soon."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def router(
    authenticate: Callable[[Request[Any, Any, Any]], Awaitable[KeySnapshot]],
    catalog: Callable[[], Catalog],
) -> Router:
    """Make the routes over the catalog."""

    async def check_key(request: Request[Any, Any, Any]) -> None:
        if request.headers.get("authorization"):
            await authenticate(request)

    listed = Listed(catalog)

    @get("/", sync_to_thread=False)
    def list_models() -> Response[bytes]:
        return _answer(listed())

    @get("/{model_id:path}", sync_to_thread=False)
    def retrieve_model(
        model_id: Annotated[str, Parameter(description="The model's id; its slash may be %2F.")],
    ) -> Response[bytes]:
        found = catalog().find(model_id.removeprefix("/"))
        if found is None:
            raise ModelNotFound(
                "There is no model of that name; see GET /v1/models.", param="model"
            )
        return _answer(money.encode(entry(found[0])))

    return Router(
        "/v1/models", route_handlers=[list_models, retrieve_model], before_request=check_key
    )


class Listed:
    """The list as JSON, encoded once for each snapshot of the catalog."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._of: Catalog | None = None
        self._json = b""

    def __call__(self) -> bytes:
        """Return the body of GET /v1/models."""
        catalog = self._catalog()
        if catalog is not self._of:
            models = [model for model in catalog.models.values() if model.state != "retired"]
            self._json = money.encode(ModelList(data=[entry(model) for model in models]))
            self._of = catalog
        return self._json


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
    )


def _answer(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json", headers={"x-request-id": new_id()})
