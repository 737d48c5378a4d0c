"""GET /v1/models and /v1/models/{id}: OpenAI's fields, then what it costs and can do.

Public, as the pages are. A key that is sent is checked all the same: tools ask here whether their
key is good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import Parameter

from gateway.data_plane.api.hot_path import ModelNotFound
from gateway.data_plane.api.responses import dollars
from gateway.identifiers import new_id
from gateway.snapshots import Catalog, KeySnapshot, ModelSnapshot, State

Body = TypeVar("Body")


class Price(msgspec.Struct, frozen=True):
    """What a million tokens cost, in strings, since floats round."""

    nanos_per_million_tokens: str
    dollars_per_million_tokens: str


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the catalogue."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    state: State
    license: str
    price: Price
    flex_price: Price
    """With `service_tier: flex`."""
    dimensions: tuple[int, ...]
    dimensions_default: int
    dimensions_derived: dict[str, int]
    """Dimensions without a head of their own, and the head that each is cut from."""
    tokens_max: int
    """Most tokens in one input, [CLS], [SEP] and prompt included."""
    prompts: dict[str, str]


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models that are live or coming soon."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def router(
    authenticate: Callable[[str], Awaitable[KeySnapshot]], catalog: Callable[[], Catalog]
) -> Router:
    """Make the routes over the catalog."""

    async def check_key(request: Request[Any, Any, Any]) -> None:
        if authorization := request.headers.get("authorization"):
            await authenticate(authorization)

    listed = Listed(catalog)

    @get("/", sync_to_thread=False)
    def list_models() -> Response[bytes]:
        return Response(listed(), media_type="application/json", headers={"x-request-id": new_id()})

    @get("/{model_id:path}", sync_to_thread=False)
    def retrieve_model(
        model_id: Annotated[str, Parameter(description="The model's id; its slash may be %2F.")],
    ) -> Response[ModelEntry]:
        found = catalog().find(model_id.removeprefix("/"))
        if found is None:
            raise ModelNotFound(
                "There is no model of that name; see GET /v1/models.", param="model"
            )
        return _answer(entry(found[0]))

    return Router(
        "/v1/models", route_handlers=[list_models, retrieve_model], before_request=check_key
    )


class Listed:
    """The list as JSON, written once for each state of the catalogue."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._of: Catalog | None = None
        self._json = b""

    def __call__(self) -> bytes:
        """Return it."""
        catalog = self._catalog()
        if catalog is not self._of:
            models = [model for model in catalog.models.values() if model.state != "retired"]
            self._json = msgspec.json.encode(ModelList(data=[entry(model) for model in models]))
            self._of = catalog
        return self._json


def entry(model: ModelSnapshot) -> ModelEntry:
    """Describe a model as the API does."""
    price = model.price.nanos_per_million_tokens
    flex = model.price_of("flex").nanos_per_million_tokens
    return ModelEntry(
        id=model.id,
        created=model.created,
        owned_by=model.owned_by,
        state=model.state,
        license=model.license,
        price=Price(str(price), dollars(price)),
        flex_price=Price(str(flex), dollars(flex)),
        dimensions=model.dimensions,
        dimensions_default=model.dimensions_default,
        dimensions_derived={str(k): v for k, v in model.derived_dimensions.items()},
        tokens_max=model.tokens_max,
        prompts=dict(model.prompts),
    )


def _answer(value: Body) -> Response[Body]:
    return Response(value, headers={"x-request-id": new_id()})
