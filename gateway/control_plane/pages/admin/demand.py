"""Demand: models by how much they are wanted, whether each would pay for its GPU, and its votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway.control_plane.back_office import vote_reviews
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.demand import economics, events, standings, vote_lists
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.economics import GpuTerms, Outlook
from gateway.control_plane.demand.standings import NOTHING, DemandStanding
from gateway.control_plane.demand.vote_lists import ListedVote, VoteFilter
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.pages.admin.lists import CSV_ROWS_MAX, ROWS, as_csv, keyset
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.workers import commands
from gateway.errors import BadRequest
from gateway.storage.database import Database

VOTES_AT_ONCE = 500
"""Most votes that one form sets aside."""
_POINTS = (25, 50, 75, 100, 125, 150, 200, 300)
"""Prices of the curve, in percent of the model's."""
_COLUMNS = (
    "model", "score", "votes", "votes_30_days", "votes_30_days_before", "waiting", "set_aside",
    "price_nanos", "expected_tokens", "revenue_nanos", "gpus", "cost_nanos", "pays", "days",
    "trend_days",
)  # fmt: skip


class VotesForm(msgspec.Struct, frozen=True, kw_only=True):
    """Votes to set aside or to put back, and why."""

    do: str = ""
    reason: str = ""
    ids: str | list[str] = msgspec.field(default_factory=list)

    @property
    def votes(self) -> list[str]:
        """The ids of the votes."""
        return [self.ids] if isinstance(self.ids, str) else self.ids


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
        computed_at=min((row.computed_at for row in found), default=None),
    )


async def provide_demand_page(
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
) -> FormPage:
    """Provide the page of one model's demand to the handlers that show it and to its form."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        listing = shelf.find(f"{owner}/{name}")
        model = listing.model
        chosen = VoteFilter(model=model.id, q=q, counting=counting)
        async with database.read() as connection:
            known = await standings.of_model(connection, model.id)
            standing = known.standing if known else await standings.computed(connection, model.id)
            reports = await commands.reports(connection)
            funnel = await events.funnel(connection, model.id)
            votes = await vote_lists.votes(connection, chosen, before=before, limit=ROWS + 1)
        asked, nanos = refused, model.price.nanos_per_million_tokens
        try:
            nanos = nanos_of_dollars(price, param="price") if price.strip() else nanos
        except BadRequest as error:
            asked = asked or RefusedForm("price", error)
        capacity = economics.capacity_of(model.id, reports)
        return render(
            "admin/demand_model.html",
            section="demand",
            path=f"/admin/demand/{model.id}",
            refused=asked,
            model_listing=listing,
            standing=standing,
            computed_at=known.computed_at if known else None,
            outlook=economics.outlook(standing, nanos, capacity, gpu_terms),
            gpu=gpu_terms,
            curve=_curve(standing, model.price.nanos_per_million_tokens),
            expected_percent=standings.EXPECTED_PERCENT,
            busy_percent=economics.BUSY_PERCENT,
            funnel=funnel,
            votes=keyset(
                f"/admin/demand/{model.id}",
                {"q": q, "counting": counting},
                votes,
                lambda vote: vote.id,
                before=before,
            ),
            chosen={"q": q, "counting": counting, "price": price},
            typed_reason=refused.typed.reason if refused else "",
            picked=refused.typed.votes if refused else [],
            reason_max=vote_reviews.REASON_CHARACTERS_MAX,
        )

    return page


@get(
    "/admin/demand/{owner:str}/{name:str}",
    dependencies={"page": Provide(provide_demand_page)},
)
async def show_model_demand(
    page: NamedDependency[FormPage],
    database: NamedDependency[Database],
    shelf: NamedDependency[Shelf],
    owner: FromPath[str],
    name: FromPath[str],
    q: FromQuery[str] = "",
    counting: FromQuery[str] = "",
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """Show one model's demand; its votes as CSV too."""
    if written != "csv":
        return await page(None)
    chosen = VoteFilter(model=shelf.find(f"{owner}/{name}").model.id, q=q, counting=counting)
    async with database.read() as connection:
        votes = await vote_lists.votes(connection, chosen, before=before, limit=CSV_ROWS_MAX)
    fields = ListedVote.__struct_fields__
    return as_csv("votes", fields, (msgspec.structs.astuple(vote) for vote in votes))


@post_form("/admin/demand/{owner:str}/{name:str}/votes", "votes", provide_demand_page)
async def review_votes(
    database: NamedDependency[Database],
    shelf: NamedDependency[Shelf],
    operator: NamedDependency[Operator],
    demand_counts: NamedDependency[DemandCounts],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[VotesForm],
) -> Response[Any]:
    """Set votes aside, or put them back; each is one entry of the trail."""
    model = shelf.find(f"{owner}/{name}").model
    operator.must("support")
    if not data.votes:
        raise BadRequest("Choose at least one vote.", param="ids")
    if len(data.votes) > VOTES_AT_ONCE:
        raise BadRequest(f"At most {VOTES_AT_ONCE} votes at once.", param="ids")
    act = vote_reviews.restore if data.do == "restore" else vote_reviews.set_aside
    async with database.write() as connection:
        for vote_id in sorted(set(data.votes)):
            await act(connection, operator, vote_id, reason=data.reason)
        await demand_counts.recount(connection, model.id)
    return see_other(f"/admin/demand/{model.id}#votes")


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
