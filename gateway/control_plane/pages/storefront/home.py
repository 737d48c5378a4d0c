"""The home page: what it costs, whether it works, how to call it, and which models there are."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.catalog.collections import COLLECTIONS
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.race import Race
from gateway.control_plane.pages.storefront import columns
from gateway.control_plane.pages.storefront.columns import Measured
from gateway.control_plane.pages.storefront.pills import path_of
from gateway.control_plane.status.performance import Performances
from gateway.control_plane.status.served import Served
from gateway.control_plane.web import snippets
from gateway.control_plane.web.rendering import Render
from gateway.settings import Settings

_ROWS = 6
_CONTENDERS = 3


@get("/")
async def show_home(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    performances: NamedDependency[Performances],
    served: NamedDependency[Served],
    race: NamedDependency[Race],
) -> Response[str]:
    """Introduce the service, with an example call and the models."""
    first = shelf.listings[0] if shelf.listings else None
    measured = Measured(demand_counts.all_votes(), performances)
    call = snippets.curl(settings.public_url, first.model.id) if first else ""
    return render(
        "home.html",
        first=first,
        seen=performances.of(first.model.id) if first and shelf.live else None,
        tokens=served.tokens(first.model.id) if first else None,
        rows=columns.ordered(shelf.listings, "", measured)[:_ROWS],
        total=len(shelf.listings),
        live=shelf.live,
        retrieval=columns.retrieval,
        measured=measured,
        votes=measured.votes,
        collections=[
            (one, path_of(one)) for one in COLLECTIONS if any(map(one.holds, shelf.listings))
        ],
        contenders=race.leaders(shelf)[:_CONTENDERS],
        call=call,
        cheapest=shelf.cheapest_nanos,
    )
