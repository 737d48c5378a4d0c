"""One's own votes, and the models that one waits for."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.site.parts import Site


@get("/console/votes")
async def show_votes(
    request: Request[Any, Any, Any], site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[str]:
    """Show them, with a button to take each back."""
    async with site.database.read() as connection:
        cast = await votes.of_visitor(connection, visitor)
        waiting = await waitlist.models_of(connection, visitor.address_key)
        unsubscribed = await unsubscribe.holds(connection, visitor.email)
    return site.renderer.page(
        request,
        "console/votes.html",
        section="votes",
        cast=cast,
        waiting=sorted(waiting),
        unsubscribed=unsubscribed,
        titles={listing.model.id: listing.page.title for listing in site.listings()},
    )
