"""The home page."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.web import snippets
from gateway.control_plane.web.rendering import Renderer
from gateway.settings import Settings


@get("/")
async def show_home(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    renderer: NamedDependency[Renderer],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
) -> Response[str]:
    """Say what this is, show a call, and lead to the models."""
    first = shelf.listings[0].model if shelf.listings else None
    call = snippets.curl(settings.public_url, first.id) if first else ""
    return renderer.page(
        request,
        "home.html",
        listings=shelf.listings,
        call=call,
        votes=demand_counts.all_votes(),
        cheapest=shelf.cheapest_nanos,
    )
