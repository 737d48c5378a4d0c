"""The documentation: words written by hand, numbers from this gateway's settings.

The reference is rendered from the OpenAPI document, and a test compares the errors with the code,
so neither falls behind.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.pages.docs import reference
from gateway.control_plane.pages.docs.errors import REFUSALS
from gateway.control_plane.web import snippets
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.settings import Settings

PAGES = {
    "quickstart": "Quickstart",
    "reference": "API reference",
    "errors": "Errors",
    "limits": "Limits",
    "tokens": "What a token is",
    "clients": "Clients",
}


class Bound(NamedTuple):
    """A bound, and what a request beyond it gets."""

    what: str
    most: str
    beyond: str
    """Status and code; code stands in backticks."""


@get("/docs")
async def show_start(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
) -> Response[str]:
    """Show the quickstart."""
    return _page(settings, render, shelf, "quickstart")


@get("/docs/{slug:str}")
async def show_docs(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    slug: FromPath[str],
) -> Response[str]:
    """Show one page of the documentation."""
    return _page(settings, render, shelf, slug)


def limits(settings: Settings) -> list[Bound]:
    """Return the bounds of one request and of one organization."""
    megabytes = settings.body_bytes_max / 2**20
    return [
        Bound("Texts in one request", f"{settings.inputs_max:,} texts", "400"),
        Bound("Length of one text", f"{settings.input_characters_max:,} characters", "400"),
        Bound(
            "Length of all texts in one request",
            f"{settings.request_characters_max:,} characters",
            "400",
        ),
        Bound("Tokens in one request", f"{settings.request_tokens_max:,} tokens", "400"),
        Bound(
            "Numbers in one answer: texts times dimensions",
            f"{settings.answer_floats_max:,} numbers",
            "400",
        ),
        Bound("Size of the body", f"{megabytes:,.4g} MiB", "413 `request_too_large`"),
        Bound(
            "Concurrent requests of one organization",
            f"{settings.organization_in_flight_max:,} requests for each gateway process",
            "429 `too_many_in_flight`",
        ),
        Bound(
            "Concurrent requests of all organizations",
            f"{settings.in_flight_max:,} requests for each gateway process",
            "429 `too_many_in_flight`",
        ),
        Bound(
            "Length of an `Idempotency-Key`",
            f"{settings.idempotency_key_characters_max:,} characters",
            "400 `idempotency_key_too_long`",
        ),
        Bound(
            "Connections that wait for one request, its retries included",
            f"{settings.replay_waiting_max:,} connections",
            "429 `too_many_retries`",
        ),
        Bound(
            "Time until the vectors are there",
            f"{settings.request_timeout_seconds:g} seconds",
            "504 `timeout`",
        ),
        Bound(
            "Wait for a worker while none is ready",
            f"{settings.hold_seconds:g} seconds, up to {settings.hold_seconds_max:g} with "
            "`Prefer: wait`",
            "503 `model_warming`",
        ),
    ]


def _page(settings: Settings, render: Render, shelf: Shelf, slug: str) -> Response[str]:
    if slug not in PAGES:
        raise PageNotFound("There is no such page in the documentation.")
    model = shelf.first.model  # live, if any is
    url = settings.public_url
    context: dict[str, Any] = {
        "model": model,
        "calls": snippets.calls(url, model.id),
        "environment": snippets.environment(url),
    }
    match slug:
        case "errors":
            context["refusals"] = REFUSALS
            context["titles"] = {r.status: HTTPStatus(r.status).phrase for r in REFUSALS}
            context["replay_seconds"] = f"{settings.replay_seconds:g}"
        case "limits":
            context["limits"] = limits(settings)
        case "reference":
            context["entries"] = reference.entries(url)
            context["error"], context["error_example"] = reference.error(url)
        case "clients":
            context["clients"] = snippets.clients(url, model.id)
    return render(
        f"docs/{slug}.html",
        slug=slug,
        docs=PAGES,
        heading=PAGES[slug],
        rich=reference.rich,
        **context,
    )
