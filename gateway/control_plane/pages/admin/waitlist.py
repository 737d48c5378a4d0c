"""The waitlist: who waits for a model, with filters and export."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.demand import vote_lists
from gateway.control_plane.demand.vote_lists import EntryFilter, ListedEntry
from gateway.control_plane.pages.admin.lists import ROWS, export, keyset
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database


@get("/admin/waitlist")
async def show_waitlist(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    model: FromQuery[str] = "",
    q: FromQuery[str] = "",
    account: FromQuery[str] = "",
    before: FromQuery[str] = "",
    written: Annotated[str, QueryParameter(name="format")] = "",
) -> Response[Any]:
    """List the entries that match the filters, newest first."""
    chosen = EntryFilter(model=model, q=q, account=account)
    if written == "csv":
        return await export(
            database,
            "waitlist",
            ListedEntry.__struct_fields__,
            lambda connection, last, limit: vote_lists.waiting(
                connection, chosen, before=last.id if last else "", limit=limit
            ),
            msgspec.structs.astuple,
        )
    async with database.read() as connection:
        found = await vote_lists.waiting(connection, chosen, before=before, limit=ROWS + 1)
    filters = {"model": model, "q": q, "account": account}
    return render(
        "admin/waitlist.html",
        section="waitlist",
        entries=keyset(
            "/admin/waitlist", filters, found, lambda entry: entry.id, before=before, limit=ROWS
        ),
        chosen=filters,
        models=[li.model.id for li in shelf.listings],
    )
