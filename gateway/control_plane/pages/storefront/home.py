"""The home page."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.web import snippets
from gateway.control_plane.web.rendering import Render
from gateway.settings import Settings


@get("/")
async def show_home(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
) -> Response[str]:
    """Introduce the service, with an example call and the models."""
    first = shelf.listings[0].model if shelf.listings else None
    call = snippets.curl(settings.public_url, first.id) if first else ""
    return render(
        "home.html",
        listings=shelf.listings,
        call=call,
        votes=demand_counts.all_votes(),
        cheapest=shelf.cheapest_nanos,
    )
