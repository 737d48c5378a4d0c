"""The list of models: filters, an order and pages, all in its address, so that it can be shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Redirect

from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.catalog.search import Search
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.pages.storefront.paging import address, page_of
from gateway.control_plane.web.forms import RefusedForm, whole
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.errors import BadRequest

PAGE_MODELS = 24
_LENGTH_MAX = 1_000_000


@get("/models")
async def list_models(
    request: Request[Any, Any, Any],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    asks: NamedDependency[Asks],
    q: FromQuery[str] = "",
    offered: Annotated[str, QueryParameter(name="state")] = "",
    task: FromQuery[str] = "",
    dimensions: FromQuery[str] = "",
    licensed: Annotated[str, QueryParameter(name="license")] = "",
    tokens: FromQuery[str] = "",
    price: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    page: FromQuery[int] = 1,
) -> Response[Any]:
    """List the models that match the filters."""
    chosen = {
        "q": q.strip(), "state": offered, "task": task, "dimensions": dimensions,
        "license": licensed, "tokens": tokens, "price": price.strip(), "sort": sort,
    }  # fmt: skip
    clean = address("/models", {**chosen, "page": page if page > 1 else ""})
    if says_nothing(request) and not is_fragment(request):
        return Redirect(clean, status_code=302)
    refused = most = None
    try:
        most = nanos_of_dollars(price, param="price") if price.strip() else None
    except BadRequest as error:
        refused = RefusedForm("filters", error)
    search = Search(
        q=q,
        state=offered,
        task=task,
        dimensions=(whole(dimensions, _LENGTH_MAX) or 0) if dimensions else None,
        license=licensed,
        tokens=whole(tokens, _LENGTH_MAX) or 0,
        price_nanos=most,
    )
    wanted = demand_counts.all_votes()
    matched = search.find(shelf)
    if q.strip() and not matched and not is_fragment(request):
        asks.missed(q, "search")  # not while it is typed
    found = ordered(matched, sort, wanted)
    answer = render(
        "models/list.html",
        refused=refused,
        found=page_of(found, page, "/models", chosen, size=PAGE_MODELS),
        total=len(shelf.listings),
        shelf=shelf,
        many=len(shelf.listings) > PAGE_MODELS,
        votes=wanted,
        chosen=chosen,
    )
    if is_fragment(request):
        answer.headers["hx-replace-url"] = clean
    return answer


def says_nothing(request: Request[Any, Any, Any]) -> bool:
    """Tell whether some parameter is empty, as browsers send those of fields left alone."""
    return any(not value.strip() for _, value in request.query_params.multi_items())


def ordered(found: Sequence[Listing], sort: str, votes: Mapping[str, int]) -> Sequence[Listing]:
    """Return listings in the order asked for; else as they are."""
    keys: dict[str, Callable[[Listing], int]] = {
        "votes": lambda li: -votes.get(li.model.id, 0),
        "price": lambda li: li.model.price.nanos_per_million_tokens,
        "newest": lambda li: -li.model.created,
    }
    return sorted(found, key=keys[sort]) if sort in keys else found
