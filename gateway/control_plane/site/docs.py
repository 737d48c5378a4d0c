"""The documentation: written by hand where words are needed, and read from the code elsewhere.

Errors are listed from their classes, limits from the settings, and the reference from the OpenAPI
document, so that none of them can fall behind.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, NamedTuple

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway import errors
from gateway.control_plane.site import snippets
from gateway.control_plane.site.parts import PageNotFound, Site
from gateway.data_plane.api import openapi
from gateway.settings import describe

PAGES = {
    "quickstart": "Quickstart",
    "reference": "API reference",
    "errors": "Errors",
    "limits": "Limits",
    "tokens": "What a token is",
    "clients": "Clients",
}

_LIMITS = (
    "GATEWAY_BODY_BYTES_MAX",
    "GATEWAY_INPUTS_MAX",
    "GATEWAY_INPUT_CHARACTERS_MAX",
    "GATEWAY_REQUEST_TOKENS_MAX",
    "GATEWAY_ANSWER_FLOATS_MAX",
    "GATEWAY_REQUEST_TIMEOUT_SECONDS",
    "GATEWAY_ORGANIZATION_IN_FLIGHT_MAX",
)


class ErrorEntry(NamedTuple):
    """A way in which a request under /v1 can end."""

    status: int
    code: str
    type: str
    meaning: str


@get("/docs")
async def show_start(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> Response[str]:
    """Begin with the quickstart."""
    return _page(request, site, "quickstart")


@get("/docs/{slug:str}")
async def show_docs(
    request: Request[Any, Any, Any], site: NamedDependency[Site], slug: FromPath[str]
) -> Response[str]:
    """Show one page of the documentation."""
    return _page(request, site, slug)


def listed_errors() -> list[ErrorEntry]:
    """List the errors of the API, by status and code, from the classes that raise them."""
    found = {
        ErrorEntry(kind.status, kind.code, kind.type, _first_line(kind))
        for kind in _descendants(errors.GatewayError)
        if kind.code and kind.__module__.startswith(("gateway.errors", "gateway.data_plane"))
    }
    return sorted(found)


def _page(request: Request[Any, Any, Any], site: Site, slug: str) -> Response[str]:
    if slug not in PAGES:
        raise PageNotFound("There is no such page in the documentation.")
    model = site.first().model  # a live one where there is any
    url = site.settings.public_url
    context: dict[str, Any] = {"model": model, "calls": snippets.calls(url, model.id)}
    match slug:
        case "errors":
            context["errors"] = listed_errors()
        case "limits":
            values = {name: (value, text) for name, value, text in describe(site.settings)}
            context["limits"] = [values[name] for name in _LIMITS]
        case "reference":
            context["document"] = openapi.document(url, version("stella-gateway"))
    return site.renderer.page(
        request, f"docs/{slug}.html", slug=slug, docs=PAGES, heading=PAGES[slug], **context
    )


def _descendants(kind: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    found = {kind}
    for child in kind.__subclasses__():
        found |= _descendants(child)
    return found


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]
