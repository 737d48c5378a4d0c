"""Models side by side."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.catalog.listings import ListingNotFound, Shelf
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.rendering import Render

_COMPARED_MAX = 6
_NAME_CHARACTERS_MAX = 100


@get("/compare")
async def compare_models(
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    model: FromQuery[list[str] | None] = None,
) -> Response[str]:
    """Compare models side by side: the named ones, or the first ones."""
    named = list(dict.fromkeys(name.strip() for name in model or [] if name.strip()))
    known = [shelf.by_id[name] for name in named if name in shelf.by_id]
    unknown = [name[:_NAME_CHARACTERS_MAX] for name in named if name not in shelf.by_id]
    refused = None
    if unknown:
        error = ListingNotFound(f"There is no model {unknown[0]} here.", param="model")
        refused = RefusedForm("compare", error, {"model": unknown[0]})
    return render(
        "models/compare.html",
        refused=refused,
        listings=(known or shelf.listings)[:_COMPARED_MAX],
        most=_COMPARED_MAX,
        total=len(shelf.listings),
        votes=demand_counts.all_votes(),
    )
