"""A model for search engines: itself, its breadcrumbs and its questions."""

from __future__ import annotations

from typing import Any

from gateway.control_plane.catalog.content import ModelPage
from gateway.control_plane.catalog.listings import Listing
from gateway.snapshots import ModelSnapshot


def structured_data(public_url: str, listing: Listing) -> list[dict[str, Any]]:
    """Describe a model in the words of schema.org."""
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
                        (listing.author, f"/models/{listing.author}"),
                        (page.title, listing.path),
                    ],
                    start=1,
                )
            ],
        },
        *([_questions(page)] if page.faq else []),
    ]


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
