"""GET /v1/models and /v1/models/{id}: OpenAI's fields, then price and abilities.

Public, like the pages. If a key is sent, it is still checked: tools ask here whether their key is
valid.

The list is paged, with the models that can be called first: OpenAI's SDKs read one page, and their
cursor pages continue from `after`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from litestar import Request, Response, Router, get
from litestar.params import FromQuery, Parameter, QueryParameter

from gateway import money
from gateway.data_plane.api.hot_path import ModelNotFound
from gateway.data_plane.api.model_entries import ModelList, entry
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.snapshots import Catalog, KeySnapshot, ModelSnapshot

PAGE_MODELS_MAX = 200
"""Most models per page, and how many a page has by default."""


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
    def list_models(
        after: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MODELS_MAX)] = PAGE_MODELS_MAX,
    ) -> Response[bytes]:
        return _answer(listed.page(after, limit))

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
    """The pages of the list, as JSON; the first one is encoded once for each catalog."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._of: Catalog | None = None
        self._models: Sequence[ModelSnapshot] = ()
        self._places: Mapping[str, int] = {}
        self._first = b""

    def page(self, after: str | None, limit: int) -> bytes:
        """Return the models after one, or the first ones. Raises BadRequest for an unknown one."""
        catalog = self._catalog()
        if catalog is not self._of:
            offered = [model for model in catalog.models.values() if model.state != "retired"]
            self._models = sorted(offered, key=lambda model: model.state != "live")
            self._places = {model.id: place for place, model in enumerate(self._models, 1)}
            self._first = self._encoded(0, PAGE_MODELS_MAX)
            self._of = catalog
        if after is None:
            return self._first if limit == PAGE_MODELS_MAX else self._encoded(0, limit)
        place = self._places.get(after)
        if place is None:
            raise BadRequest("There is no model of that name to continue after.", param="after")
        return self._encoded(place, limit)

    def _encoded(self, place: int, limit: int) -> bytes:
        found = [entry(model) for model in self._models[place : place + limit]]
        return money.encode(
            ModelList(
                data=found,
                first_id=found[0].id if found else None,
                last_id=found[-1].id if found else None,
                has_more=place + limit < len(self._models),
            )
        )


def _answer(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json", headers={"x-request-id": new_id()})
