"""Search of the site: models of the catalog, sections of the documentation, and other pages."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.catalog.listings import QUERY_CHARACTERS_MAX, Shelf
from gateway.control_plane.catalog.search import matching
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.pages.docs.manual import Manual
from gateway.control_plane.web.rendering import Render, is_fragment

_MODELS_MAX = 5


@get("/search")
async def show_search(
    request: Request[Any, Any, Any],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    manual: NamedDependency[Manual],
    asks: NamedDependency[Asks],
    q: FromQuery[str] = "",
) -> Response[str]:
    """Show what fits a query."""
    query = q.strip()[:QUERY_CHARACTERS_MAX]
    models = matching(shelf, query) if query else []
    found = manual.index(shelf.first.model).search(query) if query else []
    if query and not models and not found and not is_fragment(request):
        asks.missed(query, "search")  # not while it is typed
    return render(
        "docs/search.html",
        query=query,
        models=models[:_MODELS_MAX],
        models_more=max(len(models) - _MODELS_MAX, 0),
        found=found,
    )
