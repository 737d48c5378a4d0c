"""Pages outside the documentation that a search of the site finds, with the words for that."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.control_plane.pages.docs.index import Entry
from gateway.settings import Settings

PLACES = (
    Entry(
        "Price calculator", "", "/calculator",
        "Paste a typical input and say how many you have: see what embedding your corpus costs, "
        "counted by the tokenizer that we bill with.",
        "price cost corpus estimate million tokens how much pricing calculate budget documents",
    ),
    Entry(
        "Models", "", "/models",
        "All models with their price, dimensions, input length and license, live or coming soon.",
        "list catalog available embedding models license multilingual cheapest",
    ),
    Entry(
        "Models for many languages", "", "/models?q=languages",
        "Models that embed languages other than English, or many languages in one index.",
        "multilingual german french spanish italian portuguese dutch polish russian ukrainian "
        "turkish arabic hindi chinese japanese korean vietnamese",
    ),
    Entry(
        "Compare models", "", "/compare",
        "Models side by side: price, dimensions, input tokens, license.",
        "compare versus vs difference between models",
    ),
    Entry(
        "Playground", "", "/playground",
        "Try a model in the browser, without a key.",
        "try demo test similarity without signing up",
    ),
    Entry(
        "Status", "", "/status",
        "Uptime and response times of each live model, measured by our gateways, and incidents.",
        "uptime down outage incident latency availability reliability rss",
    ),
    Entry(
        "Changelog", "", "/changelog",
        "Model launches, price changes and API changes, by day.",
        "news release launch price change new what is new rss",
    ),
    Entry(
        "Ask for a model", "", "/ask",
        "Name a model that is not in the catalog: we count how many people want it.",
        "request missing model add support vote",
    ),
    Entry(
        "Create an API key", "", "/console/keys",
        "Keys are created in the console; each has its own budget and expiry.",
        "get api key sign up register create account revoke rotate",
    ),
)  # fmt: skip

_LEGAL = {
    "/terms": (
        "Terms of service",
        "What you and we agree on: credit, prices, taxes, refunds, availability, liability.",
        "terms conditions agreement vat tax refund money back sla guarantee expire invoice cancel",
    ),
    "/privacy": (
        "Privacy policy",
        "What is stored about you, why, for how long, who else processes it, and your rights.",
        "privacy gdpr dpa data processing agreement subprocessors cookies personal export",
    ),
    "/security": (
        "Security",
        "How keys, data and money are protected, and how to report a vulnerability.",
        "security vulnerability disclosure bounty pentest encryption hashed",
    ),
    "/contact": (
        "Contact",
        "Who operates the service, and how to reach us.",
        "contact impressum imprint company address phone register number support email dpa",
    ),
}


def legal(settings: Settings) -> Iterator[Entry]:
    """Yield the legal pages that are there."""
    for path, place in settings.legal_pages.items():
        title, words, hints = _LEGAL[path]
        yield Entry(title, "", place, words, hints)
