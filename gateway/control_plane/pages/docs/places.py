"""Pages outside the documentation that a search of the site finds, with the words for that."""

from __future__ import annotations

from gateway.control_plane.pages.docs.index import Entry

PLACES = (
    Entry(
        "Price calculator", "", "/calculator",
        "Paste a text and say how many you have: what embedding your corpus costs, counted by the "
        "tokenizer that we bill with.",
        "price cost corpus estimate million tokens how much pricing calculate budget documents",
    ),
    Entry(
        "Models", "", "/models",
        "All models with their price, dimensions, input length and license, live or coming soon.",
        "list catalog available embedding models license multilingual cheapest",
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
        "uptime sla down outage incident latency availability reliability rss",
    ),
    Entry(
        "Changelog", "", "/changelog",
        "Launches of models, changes of prices and changes of the API, by day.",
        "news release launch price change new what is new rss",
    ),
    Entry(
        "Ask for a model", "", "/ask",
        "Name a model that is not in the catalog: we count who wants it.",
        "request missing model add support vote",
    ),
    Entry(
        "Create an API key", "", "/console/keys",
        "Keys are created in the console; each has its own budget and expiry.",
        "get api key sign up register create account revoke rotate",
    ),
)  # fmt: skip
