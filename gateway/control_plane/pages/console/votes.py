"""The visitor's votes, and the models that they wait for."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

_SHOWN_MAX = 100


@get("/console/votes")
async def show_votes(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    shelf: NamedDependency[Shelf],
) -> Response[str]:
    """Show the votes, each with a button to withdraw it; live models are listed apart."""
    async with database.read() as connection:
        cast = await votes.of_visitor(connection, visitor)
        waiting = sorted(await waitlist.models_of(connection, Address(visitor.email)))
        unsubscribed = await unsubscribe.holds(connection, visitor.email)
    known = shelf.by_id
    named = [*waiting, *(vote.model_id for vote in cast)]
    live = {name for name in named if (li := known.get(name)) and li.model.state == "live"}
    cast = [vote for vote in cast if vote.model_id not in live]
    waiting = [name for name in waiting if name not in live]
    return render(
        "console/votes.html",
        section="votes",
        unsubscribed=unsubscribed,
        cast=cast[:_SHOWN_MAX],
        waiting=waiting[:_SHOWN_MAX],
        live=sorted(live)[:_SHOWN_MAX],
        more=max(len(cast), len(waiting), len(live)) > _SHOWN_MAX,
        shown_max=_SHOWN_MAX,
        titles={li.model.id: li.page.title for name in named if (li := known.get(name))},
    )
