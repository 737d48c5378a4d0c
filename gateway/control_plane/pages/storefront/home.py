"""The home page."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from gateway.control_plane.pages.parts import Site
from gateway.control_plane.web import snippets


@get("/")
async def show_home(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> Response[str]:
    """Say what this is, show a call, and lead to the models."""
    shelf = site.shelf()
    first = shelf.listings[0].model if shelf.listings else None
    call = snippets.curl(site.settings.public_url, first.id) if first else ""
    return site.renderer.page(
        request,
        "home.html",
        listings=shelf.listings,
        call=call,
        votes=site.interest.all_votes(),
        cheapest=shelf.cheapest_nanos,
    )
