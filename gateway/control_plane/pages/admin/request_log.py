"""An organization's requests, as its console has them, for operators who help it."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.control_plane.pages.admin.organization import PATH, standing, tabs
from gateway.control_plane.status import logged_requests
from gateway.control_plane.status.logged_requests import RequestFilter
from gateway.control_plane.web import request_list
from gateway.control_plane.web.forms import see_other
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.settings import Settings
from gateway.storage.database import Database

_LIST = PATH + "/{organization_id:str}/request-log"


@get(
    _LIST,
    dependencies={"chosen": Provide(request_list.provide_request_filter, sync_to_thread=False)},
)
async def list_organization_requests(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    organization_id: FromPath[str],
    chosen: NamedDependency[RequestFilter],
    before: FromQuery[str] = "",
    wanted: Annotated[str, QueryParameter(name="format")] = "",
    sought: Annotated[str, QueryParameter(name="id")] = "",
) -> Response[Any]:
    """Show one page of an organization's requests, or the newest as CSV; with an id, that one."""
    if (elsewhere := request_list.shorter(request)) is not None:
        return elsewhere
    own, sought = f"{PATH}/{organization_id}/request-log", sought.strip().lower()
    async with database.read() as connection:
        organization = await standing(connection, organization_id)
        if sought and await logged_requests.find(connection, organization_id, sought):
            return see_other(f"{own}/{sought}")
        shown = await request_list.read(
            connection, organization_id, chosen, before=before, days_kept=settings.request_log_days
        )
    if wanted == "csv":
        return await request_list.as_file(database, organization_id, chosen, before)
    return render(
        "admin/organization_requests.html",
        section="organizations",
        one=organization,
        tabs=tabs(organization_id),
        tab=own,
        done="",
        list_path=own,
        for_operators=True,
        sought=sought,
        **shown,
    )


@get(_LIST + "/{request_id:str}")
async def show_organization_request(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    organization_id: FromPath[str],
    request_id: FromPath[str],
) -> Response[str]:
    """Show what is known of a request, and what to tell whoever sent it."""
    async with database.read() as connection:
        organization = await standing(connection, organization_id)
        found = await logged_requests.find(connection, organization_id, request_id)
    if found is None:
        raise PageNotFound("There is no such request, or it is no longer kept.")
    own = f"{PATH}/{organization_id}/request-log"
    return render(
        "admin/organization_request.html",
        section="organizations",
        one=organization,
        tabs=tabs(organization_id),
        tab=own,
        done="",
        list_path=own,
        for_operators=True,
        logged=found,
        error=request_list.error_of(found),
        days_kept=settings.request_log_days,
        has_receipts=settings.receipts,
    )
