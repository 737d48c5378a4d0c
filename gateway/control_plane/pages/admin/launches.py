"""Launches: what one would do, its waves as they go, a pause, and what came of it."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.back_office import launch_control, orders
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.demand import launch_progress, report
from gateway.control_plane.demand.launch_mails import LaunchMails
from gateway.control_plane.demand.launches import LaunchPrices, prices_of
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rendering import Render
from gateway.errors import BadRequest
from gateway.storage.database import Database

_SHOWN_MAX = 50
_DONE = {
    "launch": "It is live. The emails go out in waves.",
    "pause": "Paused: unsent emails are held back.",
    "resume": "Resumed.",
}
"""What a launch's page says after an action."""


class LaunchForm(msgspec.Struct, frozen=True, kw_only=True):
    """A launch as it was checked: its prices in dollars, empty for the estimated ones."""

    price: str = ""
    flex: str = ""
    reason: str = ""


class ReasonForm(msgspec.Struct, frozen=True):
    """Why a launch is paused or goes on."""

    reason: str = ""


@get("/admin/launches")
async def show_launches(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
) -> Response[Any]:
    """List the newest launches, and what may be launched."""
    async with database.read() as connection:
        found = await launch_progress.listed(connection, _SHOWN_MAX)
        ready = await launch_progress.ready_models(connection)
    coming = {li.model.id for li in shelf.listings if li.model.state == "coming_soon"}
    return render(
        "admin/launches.html",
        section="launches",
        found=found,
        titles={li.model.id: li.page.title for li in shelf.listings},
        ready=sorted(coming & ready),
    )


async def provide_launch_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    launches: NamedDependency[LaunchMails],
    owner: FromPath[str],
    name: FromPath[str],
    price: FromQuery[str] = "",
    flex: FromQuery[str] = "",
    done: FromQuery[str] = "",
) -> FormPage:
    """Provide the page of one launch, done or not, to the handlers that show it and its forms."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        listing = shelf.find(f"{owner}/{name}")
        async with database.read() as connection:
            launched = await launch_progress.of_model(connection, listing.model.id)
            if launched is not None:
                return render(
                    "admin/launch.html",
                    section="launches",
                    path=f"/admin/launches/{listing.model.id}",
                    refused=refused,
                    done=_DONE.get(done, ""),
                    launch=launched,
                    offered=listing,
                    mails=await launch_progress.mail_counts(connection, launched.model_id),
                    conversion=await report.conversion(connection, launched.model_id),
                    wave_mails=launches.terms.wave_mails,
                    reason_max=orders.REASON_CHARACTERS_MAX,
                )
        typed = LaunchForm(price=price, flex=flex)
        if refused is not None and isinstance(refused.typed, LaunchForm):
            typed = refused.typed
        return await _preview(database, render, launches, listing, typed, refused)

    return page


@get(
    "/admin/launches/{owner:str}/{name:str}",
    dependencies={"page": Provide(provide_launch_page)},
)
async def show_launch(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show what a launch would do, or how far it has come."""
    return await page(None)


@post_form("/admin/launches/{owner:str}/{name:str}", "launch", provide_launch_page)
async def launch_model(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[LaunchForm],
) -> Response[Any]:
    """Make the model live."""
    prices = [
        nanos_of_dollars(dollars, param=param) if dollars.strip() else None
        for param, dollars in (("price", data.price), ("flex", data.flex))
    ]
    async with database.write() as connection:
        await launch_control.launch(
            connection,
            operator,
            f"{owner}/{name}",
            nanos_per_million_tokens=prices[0],
            flex_nanos_per_million_tokens=prices[1],
            reason=data.reason,
        )
    return see_other(f"/admin/launches/{owner}/{name}?done=launch")


@post_form("/admin/launches/{owner:str}/{name:str}/pause", "pause", provide_launch_page)
async def pause_launch(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[ReasonForm],
) -> Response[Any]:
    """Hold the launch's mails back."""
    async with database.write() as connection:
        await launch_control.pause(connection, operator, f"{owner}/{name}", reason=data.reason)
    return see_other(f"/admin/launches/{owner}/{name}?done=pause")


@post_form("/admin/launches/{owner:str}/{name:str}/resume", "resume", provide_launch_page)
async def resume_launch(
    database: NamedDependency[Database],
    operator: NamedDependency[Operator],
    owner: FromPath[str],
    name: FromPath[str],
    data: URLEncodedBody[ReasonForm],
) -> Response[Any]:
    """Let the launch go on."""
    async with database.write() as connection:
        await launch_control.resume(connection, operator, f"{owner}/{name}", reason=data.reason)
    return see_other(f"/admin/launches/{owner}/{name}?done=resume")


async def _preview(
    database: Database,
    render: Render,
    mails: LaunchMails,
    listing: Listing,
    typed: LaunchForm,
    refused: RefusedForm | None,
) -> Response[Any]:
    model = listing.model
    today = f"{wall.now():%Y-%m-%d}"
    async with database.read() as connection:
        readiness = await launch_progress.readiness(connection, model.id)
        audience = await launch_progress.audience(connection, model.id, mails.terms, today)
        try:
            prices = await _prices(connection, model.id, typed)
        except BadRequest as error:
            refused = refused or RefusedForm("launch", error, typed)
            prices = await _prices(connection, model.id, LaunchForm())
    return render(
        "admin/launch_preview.html",
        section="launches",
        path=f"/admin/launches/{model.id}",
        refused=refused,
        offered=listing,
        readiness=readiness,
        audience=audience,
        prices=prices,
        typed=typed,
        mail=mails.example(model.id, prices.default_nanos),
        credit_nanos=mails.terms.gift.nanos,
        wave_mails=mails.terms.wave_mails,
        reason_max=orders.REASON_CHARACTERS_MAX,
    )


async def _prices(connection: AsyncConnection, model_id: str, typed: LaunchForm) -> LaunchPrices:
    default = nanos_of_dollars(typed.price, param="price") if typed.price.strip() else None
    flex = nanos_of_dollars(typed.flex, param="flex") if typed.flex.strip() else None
    return await prices_of(connection, model_id, default, flex)
