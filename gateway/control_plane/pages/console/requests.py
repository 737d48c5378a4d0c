"""Requests: the latest of an organization, one of them with all that is known, and as CSV."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.status import logged_requests
from gateway.control_plane.status.logged_requests import RequestFilter
from gateway.control_plane.web import request_list
from gateway.control_plane.web.forms import see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/console/requests"


@get(
    PATH,
    dependencies={"chosen": Provide(request_list.provide_request_filter, sync_to_thread=False)},
)
async def list_requests(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    chosen: NamedDependency[RequestFilter],
    before: FromQuery[str] = "",
    wanted: Annotated[str, QueryParameter(name="format")] = "",
    sought: Annotated[str, QueryParameter(name="id")] = "",
) -> Response[Any]:
    """Show one page of requests, or the newest as CSV; with an id, lead to its request."""
    if (elsewhere := request_list.shorter(request)) is not None:
        return elsewhere
    own, sought = visitor.organization_id, sought.strip().lower()
    if wanted == "csv":
        return await request_list.as_file(database, own, chosen, before)
    async with database.read() as connection:
        if sought and await logged_requests.find(connection, own, sought):
            return see_other(f"{PATH}/{sought}")
        shown = await request_list.read(
            connection, own, chosen, before=before, days_kept=settings.request_log_days
        )
    return render(
        "console/requests.html",
        section="requests",
        list_path=PATH,
        for_operators=False,
        sought=sought,
        rows_kept=settings.request_log_rows_max,
        **shown,
    )


@get(PATH + "/{request_id:str}")
async def show_request(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    request_id: FromPath[str],
) -> Response[str]:
    """Show what is known of a request, and what to do about its error."""
    async with database.read() as connection:
        found = await logged_requests.find(connection, visitor.organization_id, request_id)
    if found is None:
        raise PageNotFound("There is no such request, or it is no longer kept.")
    return render(
        "console/request.html",
        section="requests",
        list_path=PATH,
        for_operators=False,
        one=found,
        error=request_list.error_of(found),
        days_kept=settings.request_log_days,
        has_receipts=settings.receipts,
    )
