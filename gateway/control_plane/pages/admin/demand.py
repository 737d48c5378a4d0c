"""Demand: models by how much they are wanted, whether each would pay for its GPU, and its votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.demand import asks, economics, events, standings, vote_lists
from gateway.control_plane.demand.economics import GpuTerms, Outlook
from gateway.control_plane.demand.standings import NOTHING, DemandStanding
from gateway.control_plane.demand.vote_lists import ListedVote, VoteFilter
from gateway.control_plane.pages.admin.lists import ROWS, as_csv, export, keyset
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.workers import commands
from gateway.errors import BadRequest
from gateway.storage.database import Database

_POINTS = (25, 50, 75, 100, 125, 150, 200, 300)
"""Prices of the curve, in percent of the model's."""
_ASKED = 20
"""How many of the models that the catalog does not have are listed."""
_COLUMNS = (
    "model", "score", "votes", "votes_30_days", "votes_30_days_before", "waiting", "set_aside",
    "price_nanos", "expected_tokens", "revenue_nanos", "gpus", "cost_nanos", "pays", "days",
    "trend_days",
)  # fmt: skip


class WantedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list."""

    listing: Listing
    standing: DemandStanding
    outlook: Outlook


@get("/admin/demand")
async def show_demand(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    gpu_terms: NamedDependency[GpuTerms],
    q: FromQuery[str] = "",
    pays: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """List the models that are coming soon, the most wanted first."""
    async with database.read() as connection:
        found = await standings.listed(connection)
        reports = await commands.reports(connection)
        asked = await asks.listed(connection, _ASKED)
    known = {row.model_id: row.standing for row in found}
    wanted = []
    for listing in shelf.listings:
        model = listing.model
        if model.state != "coming_soon" or not all(w in listing.text for w in q.casefold().split()):
            continue
        standing = known.get(model.id, NOTHING)
        capacity = economics.capacity_of(model.id, reports)
        seen = economics.outlook(
            standing, model.price.nanos_per_million_tokens, capacity, gpu_terms
        )
        if not pays or seen.pays == (pays == "yes"):
            wanted.append(WantedModel(listing=listing, standing=standing, outlook=seen))
    wanted.sort(key=lambda row: (-row.standing.score, row.listing.model.id))
    if written == "csv":
        return as_csv("demand", _COLUMNS, map(_row, wanted))
    return render(
        "admin/demand.html",
        section="demand",
        wanted=wanted,
        chosen={"q": q, "pays": pays},
        gpu=gpu_terms,
        asked=asked,
        computed_at=min((row.computed_at for row in found), default=None),
    )


@get("/admin/demand/{owner:str}/{name:str}")
async def show_model_demand(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    gpu_terms: NamedDependency[GpuTerms],
    owner: FromPath[str],
    name: FromPath[str],
    q: FromQuery[str] = "",
    counting: FromQuery[str] = "",
    before: FromQuery[str] = "",
    price: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """Show one model's demand; its votes as CSV too."""
    model = shelf.find(f"{owner}/{name}").model
    chosen = VoteFilter(model=model.id, q=q, counting=counting)
    if written == "csv":
        return await export(
            database,
            "votes",
            ListedVote.__struct_fields__,
            lambda connection, last, limit: vote_lists.votes(
                connection, chosen, before=last.id if last else "", limit=limit
            ),
            msgspec.structs.astuple,
        )
    async with database.read() as connection:
        votes = await vote_lists.votes(connection, chosen, before=before, limit=ROWS + 1)
        known = await standings.of_model(connection, model.id)
        standing = known.standing if known else await standings.computed(connection, model.id)
        reports = await commands.reports(connection)
        funnel = await events.funnel(connection, model.id)
    refused, nanos = None, model.price.nanos_per_million_tokens
    try:
        nanos = nanos_of_dollars(price, param="price") if price.strip() else nanos
    except BadRequest as error:
        refused = RefusedForm("price", error)
    capacity = economics.capacity_of(model.id, reports)
    filters = {"q": q, "counting": counting}
    return render(
        "admin/demand_model.html",
        section="demand",
        refused=refused,
        model_listing=shelf.find(model.id),
        standing=standing,
        computed_at=known.computed_at if known else None,
        outlook=economics.outlook(standing, nanos, capacity, gpu_terms),
        gpu=gpu_terms,
        curve=_curve(standing, model.price.nanos_per_million_tokens),
        expected_percent=standings.EXPECTED_PERCENT,
        busy_percent=economics.BUSY_PERCENT,
        funnel=funnel,
        votes=keyset(
            f"/admin/demand/{model.id}", filters, votes, lambda vote: vote.id, before=before
        ),
        chosen={**filters, "price": price},
    )


def _row(wanted: WantedModel) -> Sequence[Any]:
    standing, seen = wanted.standing, wanted.outlook
    return (
        wanted.listing.model.id,
        round(standing.score, 3),
        standing.votes,
        standing.votes_30_days,
        standing.votes_30_days_before,
        standing.waiting,
        standing.set_aside,
        seen.price_nanos,
        seen.expected_tokens,
        seen.revenue_nanos,
        seen.gpus,
        seen.cost_nanos,
        "yes" if seen.pays else "no",
        seen.days,
        seen.trend_days,
    )


def _curve(standing: DemandStanding, price_nanos: int) -> Sequence[tuple[int, int, int]]:
    """Return (price, tokens a month, nanos a month) around a model's price."""
    found = []
    for percent in _POINTS:
        price = price_nanos * percent // 100
        tokens = standing.expected_tokens(price)
        found.append((price, tokens, tokens * price // 10**6))
    return found
