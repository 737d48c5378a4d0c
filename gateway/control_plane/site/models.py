"""The models: all of them with filters, one of them, and side by side."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.site import calculator, snippets
from gateway.control_plane.site.calculator import CalculatorForm
from gateway.control_plane.site.parts import Listing, Site
from gateway.data_plane.metering.rows import RowMaker
from gateway.snapshots import ModelSnapshot


@get("/models")
async def list_models(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    q: FromQuery[str] = "",
    offered: Annotated[str, QueryParameter(name="state")] = "",
    task: FromQuery[str] = "",
    dimensions: FromQuery[str] = "",
) -> Response[str]:
    """List the models that fit; the filters are the page's address, so it can be shared."""
    listings = site.listings()
    found = [
        listing
        for listing in listings
        if _matches(listing, q)
        and offered in ("", listing.model.state)
        and task in ("", listing.page.task)
        and (not dimensions or dimensions in map(str, listing.model.dimensions))
    ]
    lengths = sorted({length for listing in listings for length in listing.model.dimensions})
    return site.renderer.page(
        request,
        "models/list.html",
        found=found,
        total=len(listings),
        lengths=lengths,
        votes=site.interest.all_votes(),
        chosen={"q": q, "state": offered, "task": task, "dimensions": dimensions},
    )


@get("/models/{owner:str}/{name:str}")
async def show_model(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    owner: FromPath[str],
    name: FromPath[str],
) -> Response[str]:
    """Show one model: everything that one needs to choose it and to call it."""
    listing = site.listing(f"{owner}/{name}")
    model = listing.model
    site.interest.viewed(model.id)
    voted, waiting = await _own(site, request.user, model.id)
    related = {other.model.id: other for other in site.listings()}
    return site.renderer.page(
        request,
        "models/show.html",
        listing=listing,
        model=model,
        words=listing.page,
        calls=snippets.calls(site.settings.public_url, model.id, prompt=model.query_prompt),
        related=[(related[r.id], r.why) for r in listing.page.related if r.id in related],
        providers=int(model.state == "live"),
        votes=site.interest.votes(model.id),
        voted=voted,
        waiting=waiting,
        data=structured_data(site.settings.public_url, listing),
        limits=site.settings,
        sample=_sample(site, model),
        **calculator.shown(site, listing, CalculatorForm(model=model.id)),
    )


@get("/compare")
async def compare_models(
    request: Request[Any, Any, Any], site: NamedDependency[Site]
) -> Response[str]:
    """Put all models side by side."""
    return site.renderer.page(
        request, "models/compare.html", listings=site.listings(), votes=site.interest.all_votes()
    )


def structured_data(public_url: str, listing: Listing) -> list[dict[str, Any]]:
    """Describe a model to search engines: what it is, where it stands, and its questions."""
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
            "license": page.license_url,
            "datePublished": page.published.isoformat(),
            "offers": _offer(listing.model),
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
        {
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
        },
    ]


def _sample(site: Site, model: ModelSnapshot) -> str:
    """Write what the call on the page is answered: counted, not made up."""
    maker = RowMaker(
        site.counters[model.vocabulary_sha256],
        dimensions=model.dimensions_default,
        tokens_max=model.tokens_max,
        prompt=model.prompts[model.query_prompt] if model.query_prompt else "",
    )
    tokens = maker.from_texts([snippets.TEXT], truncate=None).tokens
    return (
        "HTTP/1.1 200 OK\n"
        f"x-cost-nanos: {model.price.cost_nanos(tokens)}\n\n"
        "{\n"
        '  "object": "list",\n'
        '  "data": [\n'
        '    {"object": "embedding", "index": 0, "embedding": [...]}\n'
        "  ],\n"
        f'  "model": "{model.id}",\n'
        f'  "usage": {{"prompt_tokens": {tokens}, "total_tokens": {tokens}}}\n'
        "}"
    )


async def _own(site: Site, visitor: Visitor | None, model_id: str) -> tuple[bool, bool]:
    """Tell whether somebody voted for a model, and whether they wait for it."""
    if visitor is None:
        return False, False
    async with site.database.read() as connection:
        voted = {vote.model_id for vote in await votes.of_visitor(connection, visitor)}
        waiting = await waitlist.models_of(connection, visitor.address_key)
    return model_id in voted, model_id in waiting


def _offer(model: ModelSnapshot) -> dict[str, Any]:
    nanos = model.price.nanos_per_million_tokens
    availability = "InStock" if model.state == "live" else "PreOrder"
    return {
        "@type": "Offer",
        "price": f"{nanos // 10**9}.{nanos % 10**9:09d}".rstrip("0"),
        "priceCurrency": "USD",
        "description": "per million tokens",
        "availability": f"https://schema.org/{availability}",
    }


def _matches(listing: Listing, query: str) -> bool:
    page = listing.page
    text = f"{listing.model.id} {page.title} {page.tagline} {page.task_detail}".casefold()
    return all(word in text for word in query.casefold().split())
