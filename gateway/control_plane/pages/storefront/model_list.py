"""The lists of models: all of them, a collection's, an author's.

Filters, order and page are all in the address, so that it can be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect

from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.collections import collection
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.catalog.search import Search
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.race import Race
from gateway.control_plane.pages.storefront import columns, week
from gateway.control_plane.pages.storefront.columns import Measured
from gateway.control_plane.pages.storefront.paging import address, page_of
from gateway.control_plane.pages.storefront.pills import Pills, path_of
from gateway.control_plane.status.performance import Performances
from gateway.control_plane.status.served import Served
from gateway.control_plane.web.forms import RefusedForm, whole
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.control_plane.web.visitors import PageNotFound
from gateway.errors import BadRequest
from gateway.settings import Settings

TABLE_MODELS = 50
CARD_MODELS = 24
COMPARED_MAX = 6
_LENGTH_MAX = 1_000_000


class ListScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a list is about: its address, its words, and which models can be on it."""

    path: str
    title: str
    lede: str
    holds: Callable[[Listing], bool] | None = None


ModelList = Callable[[ListScope], Response[Any]]
"""Renders a list with the filters of its address."""


@get("/models")
async def list_models(
    shelf: NamedDependency[Shelf], model_list: NamedDependency[ModelList]
) -> Response[Any]:
    """List all models."""
    return model_list(
        ListScope(
            path="/models",
            title=f"{len(shelf.listings):,} embedding models",
            lede=f"{shelf.live:,} live now; votes and expected usage decide what comes next.",
        )
    )


@get("/models/collections/{slug:str}")
async def list_collection(
    model_list: NamedDependency[ModelList], slug: FromPath[str]
) -> Response[Any]:
    """List the models of a collection."""
    found = collection(slug)
    if found is None:
        raise PageNotFound("There is no collection of that name.")
    return model_list(
        ListScope(
            path=path_of(found),
            title=f"{found.name} embedding models",
            lede=found.what_it_means,
            holds=found.holds,
        )
    )


@get("/models/{author:str}")
async def list_author(
    shelf: NamedDependency[Shelf],
    model_list: NamedDependency[ModelList],
    author: FromPath[str],
) -> Response[Any]:
    """List the models of an author."""
    theirs = shelf.by_author.get(author)
    if theirs is None:
        raise PageNotFound("There is no model by an author of that name.")
    live = sum(listing.model.state == "live" for listing in theirs)
    return model_list(
        ListScope(
            path=f"/models/{author}",
            title=f"Embedding models by {author}",
            lede=f"{len(theirs):,} in the catalog, {live:,} live.",
            holds=lambda listing: listing.author == author,
        )
    )


async def provide_model_list(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    performances: NamedDependency[Performances],
    asks: NamedDependency[Asks],
    pills: NamedDependency[Pills],
    race: NamedDependency[Race],
    served: NamedDependency[Served],
    q: FromQuery[str] = "",
    offered: Annotated[str, QueryParameter(name="state")] = "",
    task: FromQuery[str] = "",
    dimensions: FromQuery[str] = "",
    licensed: Annotated[str, QueryParameter(name="license")] = "",
    tokens: FromQuery[str] = "",
    price: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    view: FromQuery[str] = "",
    page: FromQuery[int] = 1,
) -> ModelList:
    """Provide the list of the request's filters to the handlers that say what it is about."""
    view = view if view == "cards" else ""
    typed = {
        "q": q, "state": offered, "task": task, "dimensions": dimensions, "license": licensed,
        "tokens": tokens, "price": price, "sort": sort, "view": view,
    }  # fmt: skip
    chosen = {name: value.strip() for name, value in typed.items()}
    sort = chosen["sort"]
    refused, search = _search(chosen)
    measured = Measured(demand_counts.all_votes(), performances)

    def answer(scope: ListScope) -> Response[Any]:
        clean = address(scope.path, {**chosen, "page": page if page > 1 else ""})
        if _says_nothing(request) and not is_fragment(request):
            return Redirect(clean, status_code=302)
        found = search.find(shelf)
        if search.q and not found and not is_fragment(request):
            asks.missed(search.q, "search")  # not while it is typed
        if scope.holds:
            found = [listing for listing in found if scope.holds(listing)]
        if sort or not search.q:  # else the best matches come first
            found = columns.ordered(found, sort, measured)
        size = CARD_MODELS if view else TABLE_MODELS
        shown = page_of(found, page, scope.path, chosen, size=size)
        filters = {name: value for name, value in chosen.items() if value and name != "view"}
        is_all = scope.path == "/models" and not filters and page == 1
        answered = render(
            "models/list.html",
            refused=refused,
            scope=scope,
            found=shown,
            total=len(shelf.listings),
            shelf=shelf,
            chosen=chosen,
            filtered=bool(filters.keys() - {"sort"}),
            here=address(scope.path, {**chosen, "sort": "", "view": ""}),
            pills=pills(shelf),
            heads=columns.heads(scope.path, chosen, sort),
            orders=columns.ORDERS,
            retrieval=columns.retrieval,
            as_cards=address(scope.path, {**chosen, "view": "cards"}),
            as_table=address(scope.path, {**chosen, "view": ""}),
            measured=measured,
            votes=measured.votes,
            compared_max=COMPARED_MAX,
            contenders=race.leaders(shelf) if is_all else (),
            coming=is_all and shelf.live < len(shelf.listings),
            week=week.this_week(shelf, served) if is_all else None,
            data=_data(settings.public_url, scope, shown.items),
        )
        if is_fragment(request):
            answered.headers["hx-replace-url"] = clean
        return answered

    return answer


def _search(chosen: Mapping[str, str]) -> tuple[RefusedForm | None, Search]:
    """Return the search, and what was refused of its form."""
    refused = most = None
    if price := chosen["price"]:
        try:
            most = nanos_of_dollars(price, param="price")
        except BadRequest as error:
            refused = RefusedForm("filters", error)
    length = chosen["dimensions"]
    return refused, Search(
        q=chosen["q"],
        state=chosen["state"],
        task=chosen["task"],
        license=chosen["license"],
        dimensions=(whole(length, _LENGTH_MAX) or 0) if length else None,
        tokens=whole(chosen["tokens"], _LENGTH_MAX) or 0,
        price_nanos=most,
    )


def _says_nothing(request: Request[Any, Any, Any]) -> bool:
    """Tell whether some parameter is empty, as browsers send those of fields left alone."""
    return any(not value.strip() for _, value in request.query_params.multi_items())


def _data(public_url: str, scope: ListScope, shown: Sequence[Listing]) -> list[dict[str, Any]]:
    """Describe a list to search engines: its models, and where it is."""
    crumbs = [("Models", "/models")]
    if scope.path != "/models":
        crumbs.append((scope.title, scope.path))
    return [
        {
            "@context": "https://schema.org",
            "@type": "ItemList",
            "name": scope.title,
            "itemListElement": [
                {"@type": "ListItem", "position": position, "url": public_url + listing.path}
                for position, listing in enumerate(shown, start=1)
            ],
        },
        {
            "@context": "https://schema.org",
            "@type": "BreadcrumbList",
            "itemListElement": [
                {"@type": "ListItem", "position": position, "name": name, "item": public_url + path}
                for position, (name, path) in enumerate(crumbs, start=1)
            ],
        },
    ]
