"""llms.txt: the documentation for programs that read, as a list and as one text.

The form is that of llmstxt.org: a title, a summary, and lists of links to Markdown.
"""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.pages.docs.manual import Manual
from gateway.money import money
from gateway.settings import Settings

_MODELS_MAX = 100
"""The most models in the list; /v1/models has them all."""
_SUMMARY = (
    "> An OpenAI-compatible embeddings API. Every response carries its exact price; only responses "
    "with vectors are charged."
)


@get("/llms.txt")
async def read_llms(
    settings: NamedDependency[Settings],
    manual: NamedDependency[Manual],
    shelf: NamedDependency[Shelf],
) -> Response[str]:
    """List the pages of the documentation and the live models."""
    url = settings.public_url
    lines = [
        f"# {settings.brand}",
        "",
        _SUMMARY,
        "",
        f"The base URL is {url}/v1, and {url}/openapi.json describes the API.",
        f"The whole documentation in one file: {url}/llms-full.txt",
    ]
    group = ""
    for page in manual.pages(shelf.first.model).values():
        if page.group != group:
            group = page.group
            lines += ["", f"## {group}", ""]
        lines.append(f"- [{page.title}]({url}{page.path}.md): {page.description}")
    live = [listing for listing in shelf.listings if listing.model.state == "live"]
    lines += ["", "## Models", ""]
    lines += [
        f"- [{one.model.id}]({url}{one.path}): {money(one.model.price.nanos_per_million_tokens)} "
        f"per million tokens, {one.model.dimensions_default} dimensions, inputs of up to "
        f"{one.model.tokens_max:,} tokens"
        for one in live[:_MODELS_MAX]
    ]
    lines += [f"- [All models]({url}/models), also those that are coming soon", ""]
    return Response("\n".join(lines), media_type="text/plain")


@get("/llms-full.txt")
async def read_llms_full(
    manual: NamedDependency[Manual], shelf: NamedDependency[Shelf]
) -> Response[str]:
    """Return all pages as one text."""
    pages = manual.pages(shelf.first.model).values()
    return Response("\n---\n\n".join(page.source for page in pages), media_type="text/plain")
