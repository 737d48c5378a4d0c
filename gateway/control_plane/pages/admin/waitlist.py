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
from gateway.control_plane.pages.admin.lists import CSV_ROWS_MAX, ROWS, as_csv, keyset
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
    exporting = written == "csv"
    limit = CSV_ROWS_MAX if exporting else ROWS + 1
    async with database.read() as connection:
        found = await vote_lists.waiting(connection, chosen, before=before, limit=limit)
    if exporting:
        fields = ListedEntry.__struct_fields__
        return as_csv("waitlist", fields, (msgspec.structs.astuple(entry) for entry in found))
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
