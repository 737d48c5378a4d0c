"""Search of the site: models of the catalog, sections of the documentation, and other pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.catalog.listings import QUERY_CHARACTERS_MAX, Listing, Shelf
from gateway.control_plane.catalog.search import matching
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.pages.docs.manual import Manual
from gateway.control_plane.web.rendering import Render, is_fragment

_MODELS_MAX = 5
_COMMON = frozenset({"all", "base", "code", "embed", "english", "large", "small", "text"})
"""Words of models' names that say nothing of which is meant."""


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
    models = _models(shelf, query) if query else []
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


def _models(shelf: Shelf, query: str) -> Sequence[Listing]:
    """Return the models that a query means, or else those that it names among other words."""
    named = [
        word for word in query.casefold().split() if word in shelf.terms and word not in _COMMON
    ]
    return matching(shelf, query) or (matching(shelf, " ".join(named)) if named else [])
