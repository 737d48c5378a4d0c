"""GET /v1/models and /v1/models/{id}: OpenAI's fields, then price and abilities.

Public, like the pages. A key that is sent is checked all the same: tools ask here whether their
key is good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar import Request, Response, Router, get
from litestar.params import Parameter

from gateway import money
from gateway.data_plane.api.hot_path import ModelNotFound
from gateway.data_plane.api.model_entries import ModelList, entry
from gateway.identifiers import new_id
from gateway.snapshots import Catalog, KeySnapshot


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


def _answer(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json", headers={"x-request-id": new_id()})
