"""One model: everything that a visitor needs to choose it and to call it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.catalog.content import ModelPage
from gateway.control_plane.catalog.listings import Listing, ListingNotFound, Shelf
from gateway.control_plane.catalog.price_changes import PricesToCome
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.pages.storefront import calculator
from gateway.control_plane.pages.storefront.calculator import CalculatorForm, Counters
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
            votes=demand_counts.votes(model.id),
            coming=prices_to_come.of(model.id),
            data=structured_data(settings.public_url, listing),
            limits=settings,
            sample=_sample(counters, model) if model.vocabulary_sha256 in counters else "",
            **calculator.shown(settings, listing, CalculatorForm(model=model.id)),
            **own,
        )

    return page


def structured_data(public_url: str, listing: Listing) -> list[dict[str, Any]]:
    """Describe a model to search engines: itself, its breadcrumbs and its questions."""
    page = listing.page
    return [
        {
            "@context": "https://schema.org",
            "@type": "SoftwareApplication",
            "name": page.title,
            "description": page.description,
            "url": f"{public_url}{listing.path}",
            "applicationCategory": "DeveloperApplication",
            "operatingSystem": "Any",
            "offers": _offer(listing.model),
            **_written(page),
        },
        {
            "@context": "https://schema.org",
            "@type": "BreadcrumbList",
            "itemListElement": [
                {"@type": "ListItem", "position": position, "name": name, "item": public_url + path}
                for position, (name, path) in enumerate(
                    [
                        ("Models", "/models"),
                        ("Embeddings", f"/models?task={page.task}"),
                        (page.title, listing.path),
                    ],
                    start=1,
                )
            ],
        },
        *([_questions(page)] if page.faq else []),
    ]


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


def _written(page: ModelPage) -> dict[str, str]:
    """Return what a reviewed page adds."""
    said = {} if page.license_url is None else {"license": page.license_url}
    return said if page.published is None else {**said, "datePublished": page.published.isoformat()}


def _questions(page: ModelPage) -> dict[str, Any]:
    return {
        "@context": "https://schema.org",
        "@type": "FAQPage",
        "mainEntity": [
            {
                "@type": "Question",
                "name": item.question,
                "acceptedAnswer": {"@type": "Answer", "text": item.answer},
            }
            for item in page.faq
        ],
    }


async def _own(database: Database, visitor: Visitor | None, model_id: str) -> dict[str, bool]:
    """Tell whether a visitor voted for a model, waits for it, and accepts our mail."""
    if visitor is None:
        return {"voted": False, "waiting": False, "unsubscribed": False}
    async with database.read() as connection:
        return {
            "voted": await votes.has_voted(connection, visitor, model_id),
            "waiting": await waitlist.is_waiting(connection, visitor.address_key, model_id),
            "unsubscribed": await unsubscribe.holds(connection, visitor.email),
        }


def _offer(model: ModelSnapshot) -> dict[str, Any]:
    nanos = model.price.nanos_per_million_tokens
    availability = "InStock" if model.state == "live" else "PreOrder"
    return {
        "@type": "Offer",
        "price": f"{nanos // 10**9}.{nanos % 10**9:09d}".rstrip("0").rstrip("."),
        "priceCurrency": "USD",
        "description": "per million tokens",
        "availability": f"https://schema.org/{availability}",
    }
