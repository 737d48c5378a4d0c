"""One model: everything that a visitor needs to choose it and to call it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.catalog.listings import Listing, ListingNotFound, Shelf
from gateway.control_plane.catalog.price_changes import PricesToCome
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.race import LEAD_VOTES_MIN
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.pages.storefront import (
    calculator,
    day_bars,
    dimension_chart,
    elsewhere,
)
from gateway.control_plane.pages.storefront.calculator import CalculatorForm, Counters
from gateway.control_plane.pages.storefront.structured_data import structured_data
from gateway.control_plane.status.performance import Performances
from gateway.control_plane.web import snippets
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.rendering import Render
from gateway.data_plane.metering.quote import counter_of, quote
from gateway.settings import Settings
from gateway.snapshots import ModelSnapshot
from gateway.storage.database import Database

ListingPage = Callable[[Listing, RefusedForm | None], Awaitable[Response[str]]]
"""Renders a model's page, with a refused form if any."""


@get("/models/{owner:str}/{name:str}")
async def show_model(
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    listing_page: NamedDependency[ListingPage],
    asks: NamedDependency[Asks],
    owner: FromPath[str],
    name: FromPath[str],
) -> Response[str]:
    """Show one model: everything that a visitor needs to choose and to call it."""
    try:
        listing = shelf.find(f"{owner}/{name}")
    except ListingNotFound:
        asks.missed(f"{owner}/{name}", "page")
        raise
    demand_counts.viewed(listing.model.id)
    return await listing_page(listing, None)


async def provide_listing_page(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    counters: NamedDependency[Counters],
    demand_counts: NamedDependency[DemandCounts],
    prices_to_come: NamedDependency[PricesToCome],
    performances: NamedDependency[Performances],
) -> ListingPage:
    """Provide a model's page to the handlers that show it and to those of its forms."""

    async def page(listing: Listing, refused: RefusedForm | None) -> Response[str]:
        model = listing.model
        own = await _own(database, request.user, model.id)
        known = shelf.by_id
        return render(
            "models/show.html",
            path=listing.path,
            refused=refused,
            listing=listing,
            model=model,
            words=listing.page,
            calls=snippets.calls(settings.public_url, model.id, prompt=model.query_prompt),
            related=[(known[r.id], r.why) for r in listing.page.related if r.id in known],
            measured=performances.of(model.id),
            bars=day_bars.bars,
            chart=dimension_chart.drawn(listing.page, model.dimensions_default),
            elsewhere=elsewhere.beside(listing),
            span=elsewhere.span,
            gigabytes=dimension_chart.gigabytes,
            votes=demand_counts.votes(model.id),
            to_lead=_to_lead(shelf, demand_counts.all_votes(), model),
            coming=prices_to_come.of(model.id),
            data=structured_data(settings.public_url, listing),
            limits=settings,
            sample=_sample(counters, model) if model.vocabulary_sha256 in counters else "",
            **calculator.shown(settings, listing, CalculatorForm(model=model.id)),
            **own,
        )

    return page


def _sample(counters: Counters, model: ModelSnapshot) -> str:
    """Write the answer to the page's example call, with its real count of tokens."""
    counter = counter_of(counters, model)
    quoted = quote(counter, model, [snippets.TEXT], prompt=model.query_prompt, truncate="end")
    tokens = quoted.rows.tokens
    return (
        "HTTP/1.1 200 OK\n"
        f"x-cost-nanos: {quoted.cost_nanos}\n\n"
        "{\n"
        '  "object": "list",\n'
        '  "data": [\n'
        '    {"object": "embedding", "index": 0, "embedding": [...]}\n'
        "  ],\n"
        f'  "model": "{model.id}",\n'
        f'  "usage": {{"prompt_tokens": {tokens}, "total_tokens": {tokens}}}\n'
        "}"
    )


def _to_lead(shelf: Shelf, wanted: Mapping[str, int], model: ModelSnapshot) -> int | None:
    """Return how many more votes a model needs to have most, 0 if it has; None: not to be said."""
    if model.state != "coming_soon":
        return None
    coming = (count for model_id, count in wanted.items() if _is_coming(shelf, model_id))
    most = max(coming, default=0)
    if most < LEAD_VOTES_MIN:
        return None
    own = wanted.get(model.id, 0)
    return 0 if own == most else most - own + 1


def _is_coming(shelf: Shelf, model_id: str) -> bool:
    listing = shelf.by_id.get(model_id)
    return listing is not None and listing.model.state == "coming_soon"


async def _own(database: Database, visitor: Visitor | None, model_id: str) -> dict[str, Any]:
    """Return a visitor's vote for a model, whether they wait for it, and accept our mail."""
    if visitor is None:
        return {"own_vote": None, "waiting": False, "unsubscribed": False}
    async with database.read() as connection:
        return {
            "own_vote": await votes.of_model(connection, visitor, model_id),
            "waiting": await waitlist.is_waiting(connection, Address(visitor.email), model_id),
            "unsubscribed": await unsubscribe.holds(connection, visitor.email),
        }
