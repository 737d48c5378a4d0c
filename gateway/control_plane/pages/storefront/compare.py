"""Models side by side: every fact that one chooses by, and the best of each row marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.catalog.listings import Listing, ListingNotFound, Shelf
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.pages.storefront import columns
from gateway.control_plane.pages.storefront.columns import Measured
from gateway.control_plane.pages.storefront.model_list import COMPARED_MAX
from gateway.control_plane.status.performance import Performances
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.rendering import Render
from gateway.pricing import cost_nanos

_FIRST = 3
"""How many are compared where none is named."""
_NAME_CHARACTERS_MAX = 100
_SUGGESTED_MAX = 1_000
_FLOAT_BYTES = 4
_MONTH_TOKENS = 100_000_000

Kind = Literal["state", "money", "score", "number", "compact", "latency", "share", "bytes", "text"]


class ComparedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of each model."""

    name: str
    kind: Kind
    values: Sequence[Any]
    """None where it is not known."""
    best: frozenset[int] = frozenset()
    """The places of the best ones; none where all are alike, or none is better."""
    hint: str = ""


class ComparedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A column, and the address of the comparison without it."""

    listing: Listing
    without: str


@get("/compare")
async def compare_models(
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    performances: NamedDependency[Performances],
    model: FromQuery[list[str] | None] = None,
) -> Response[str]:
    """Compare the models that are named, or the first ones."""
    named = list(dict.fromkeys(name.strip() for name in model or [] if name.strip()))
    known = [shelf.by_id[name] for name in named if name in shelf.by_id]
    unknown = [name[:_NAME_CHARACTERS_MAX] for name in named if name not in shelf.by_id]
    refused = None
    if unknown:
        error = ListingNotFound(f"There is no model {unknown[0]} here.", param="model")
        refused = RefusedForm("compare", error, {"model": unknown[0]})
    measured = Measured(demand_counts.all_votes(), performances)
    every = columns.ordered(shelf.listings, "", measured)
    listings = (known or every[:_FIRST])[:COMPARED_MAX]
    return render(
        "models/compare.html",
        refused=refused,
        compared=[
            ComparedModel(listing=one, without=_address([li for li in listings if li is not one]))
            for one in listings
        ],
        rows=_rows(listings, measured, shelf),
        left_out=len(known) - len(listings) if known else 0,
        suggested=[li.model.id for li in every[:_SUGGESTED_MAX] if li not in listings],
        most=COMPARED_MAX,
        performances=performances,
        total=len(shelf.listings),
        asked_for=unknown[0] if unknown else "",
    )


def best(values: Sequence[Any], *, highest: bool) -> frozenset[int]:
    """Return the places of the best values, unless there is nothing to choose between."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or min(known) == max(known):
        return frozenset()
    first = max(known) if highest else min(known)
    return frozenset(place for place, value in enumerate(values) if value == first)


def _address(listings: Sequence[Listing]) -> str:
    named = urlencode([("model", listing.model.id) for listing in listings], safe="/")
    return f"/compare?{named}" if named else "/compare"


def _rows(listings: Sequence[Listing], measured: Measured, shelf: Shelf) -> Sequence[ComparedRow]:
    seen = [measured.performances.of(listing.model.id) for listing in listings]
    prices = sorted(li.model.price.nanos_per_million_tokens for li in shelf.listings)

    def row(
        name: str, kind: Kind, value: Callable[[Listing], Any], better: str = "", hint: str = ""
    ) -> ComparedRow:
        values = [value(listing) for listing in listings]
        found = best(values, highest=better == "highest") if better else frozenset()
        return ComparedRow(name=name, kind=kind, values=values, best=found, hint=hint)

    def measure(name: str, kind: Kind, values: Sequence[Any], better: str) -> ComparedRow:
        marked = best(values, highest=better == "highest")
        return ComparedRow(name=name, kind=kind, values=values, best=marked, hint="measured here")

    def rank(listing: Listing) -> str:
        place = prices.index(listing.model.price.nanos_per_million_tokens) + 1
        return f"{place:,} of {len(prices):,}"

    def score(listing: Listing) -> float | None:
        quality = listing.page.quality
        return quality.mean if quality and quality.benchmark == columns.BENCHMARK else None

    def votes(listing: Listing) -> int | None:
        model = listing.model
        return (model.state == "coming_soon" and measured.votes.get(model.id)) or None

    return [
        row("State", "state", lambda li: li.model.state),
        row(
            "Price per 1M tokens",
            "money",
            lambda li: li.model.price.nanos_per_million_tokens,
            "lowest",
        ),
        row("Price rank", "text", rank, hint="1 is the cheapest"),
        row(
            "A million inputs of 100 tokens",
            "money",
            lambda li: cost_nanos(li.model.price, _MONTH_TOKENS),
            "lowest",
        ),
        row("Retrieval", "score", columns.retrieval, "highest", columns.BENCHMARK),
        row("Mean of all tasks", "score", score, "highest", columns.BENCHMARK),
        row("Input tokens", "number", lambda li: li.model.tokens_max, "highest"),
        row("Dimensions", "text", lambda li: ", ".join(f"{n:,}" for n in li.model.dimensions)),
        row(
            "A million vectors",
            "bytes",
            lambda li: li.model.dimensions_default * _FLOAT_BYTES * 10**6,
            "lowest",
            "32-bit, default dimensions",
        ),
        row("Parameters", "compact", lambda li: li.page.parameters_total),
        measure("Latency, p50", "latency", [one.p50_ms for one in seen], "lowest"),
        measure("Latency, p95", "latency", [one.p95_ms for one in seen], "lowest"),
        measure(
            "Uptime, 30 days",
            "share",
            [None if one.is_new else one.uptime_30d for one in seen],
            "highest",
        ),
        row("Prompts", "text", lambda li: ", ".join(li.model.prompts) or "none"),
        row("Languages", "text", lambda li: ", ".join(li.page.languages) or None),
        row("License", "text", lambda li: li.model.license),
        row("Votes", "number", votes),
        row("Best for", "text", lambda li: li.page.best_for[0].what if li.page.best_for else None),
    ]
