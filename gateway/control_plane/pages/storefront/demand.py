"""Voting for models that are coming, and waiting for their launch."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import addresses
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.link_mails import LinkMails
from gateway.control_plane.accounts.links import LinkSpent, MailLink, MailLinks
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.votes import Vote
from gateway.control_plane.pages.storefront.models import ListingPage
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.error_pages import spent_link
from gateway.control_plane.web.forms import (
    FormPage,
    RefusedForm,
    lines,
    once,
    post_form,
    safe_path,
    see_other,
    whole,
)
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import signed_in
from gateway.storage.database import Database


class VoteForm(msgspec.Struct, frozen=True):
    """A vote as it was typed."""

    model: str
    volume: str = ""
    price: str = ""
    use_case: str = ""


class ModelForm(msgspec.Struct, frozen=True):
    """A button about one model; `back` is the page to return to."""

    model: str
    back: str = ""


class WaitlistForm(msgspec.Struct, frozen=True):
    """An address to tell of a launch; empty for a visitor who is signed in."""

    model: str
    email: str = ""
    id: str = ""


class ConfirmForm(msgspec.Struct, frozen=True):
    """The button of a mailed link."""

    token: str


async def _model_page(
    listing_page: NamedDependency[ListingPage], shelf: NamedDependency[Shelf]
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        assert refused
        return await listing_page(coming(shelf, refused.typed.model), refused)

    return page


@post_form("/vote", "vote", _model_page, guards=[signed_in])
async def vote(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    shelf: NamedDependency[Shelf],
    demand_counts: NamedDependency[DemandCounts],
    vote_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[VoteForm],
) -> Response[Any]:
    """Count the visitor's vote."""
    listing = coming(shelf, data.model)
    await vote_quota.take(origin)
    async with database.write() as connection:
        await votes.cast(connection, request.user, _vote(data))
    await demand_counts.recount(listing.model.id)
    return see_other(f"{listing.path}#demand")


@post("/vote/withdraw", guards=[signed_in])
async def withdraw_vote(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    demand_counts: NamedDependency[DemandCounts],
    vote_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[ModelForm],
) -> Response[Any]:
    """Take a vote back, also one for a model that is retired and has no page any more."""
    await vote_quota.take(origin)
    async with database.write() as connection:
        await votes.withdraw(connection, request.user, data.model)
    await demand_counts.recount(data.model)
    return see_other(safe_path(data.back or f"/models/{data.model}#demand"))


@post_form("/waitlist", "waitlist", _model_page)
async def join_waitlist(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    link_mails: NamedDependency[LinkMails],
    vote_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[WaitlistForm],
) -> Response[Any]:
    """Put a visitor who is signed in on the list; mail all others a link first."""
    listing = coming(shelf, data.model)
    visitor: Visitor | None = request.user
    await vote_quota.take(origin)
    if visitor is None:
        address = addresses.parse(data.email)
        async with database.write() as connection:
            await link_mails.send(
                connection,
                "waitlist",
                address,
                listing.model.id,
                request=once(data.id, address.email),
                subject=f"Confirm your address: {listing.page.title} waitlist",
                title=listing.page.title,
                device=device_of(request, origin),
            )
        return render("waitlist/sent.html", email=address.email, listing=listing)
    async with database.write() as connection:
        await waitlist.join(connection, listing.model.id, Address(visitor.email), visitor.user_id)
    return see_other(f"{listing.path}#demand")


@post("/waitlist/leave", guards=[signed_in])
async def leave_waitlist(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    data: URLEncodedBody[ModelForm],
) -> Response[Any]:
    """Take the visitor off the list."""
    async with database.write() as connection:
        await waitlist.leave(connection, data.model, Address(request.user.email))
    return see_other(safe_path(data.back or f"/models/{data.model}#demand"))


async def _confirm_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    links: NamedDependency[MailLinks],
    token: FromQuery[str] = "",
) -> FormPage:
    """Provide the page of a mailed link, with its button; a refused form has its own token."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        held = refused.typed.token if refused else token
        try:
            async with database.read() as connection:
                link = await links.look(connection, "waitlist", held)
        except LinkSpent as error:
            async with database.read() as connection:
                done = await _confirmed(connection, links, held)
            if done is None:
                return spent_link(render, error, "waitlist")
            listing = shelf.find(done.subject)
            return render("waitlist/done.html", email=done.email, listing=listing)
        listing = shelf.find(link.subject)
        if listing.model.state == "live":
            return see_other(listing.path)  # the launch that they wanted to hear of
        return render(
            "waitlist/confirm.html",
            refused=refused,
            link=link,
            token=held,
            listing=listing,
        )

    return page


@get("/waitlist/confirm", dependencies={"page": Provide(_confirm_page)})
async def show_confirm(
    page: NamedDependency[FormPage],
    token: FromQuery[str],  # noqa: ARG001 - required here; the page reads it
) -> Response[Any]:
    """Show what a mailed link would do."""
    return await page(None)


@post_form("/waitlist/confirm", "confirm", _confirm_page)
async def confirm(
    database: NamedDependency[Database],
    shelf: NamedDependency[Shelf],
    links: NamedDependency[MailLinks],
    data: URLEncodedBody[ConfirmForm],
) -> Response[Any]:
    """Put a confirmed address on the list."""
    async with database.write() as connection:
        link = await links.use(connection, "waitlist", data.token)
        listing = coming(shelf, link.subject)
        await waitlist.join(connection, listing.model.id, Address(link.email), None)
    return see_other(f"/waitlist/confirm?token={data.token}")


async def _confirmed(connection: AsyncConnection, links: MailLinks, token: str) -> MailLink | None:
    """Return the link if it was used and its address is on the list."""
    try:
        link = await links.used(connection, "waitlist", token)
    except LinkSpent:
        return None
    is_waiting = await waitlist.is_waiting(connection, Address(link.email), link.subject)
    return link if is_waiting else None


def coming(shelf: Shelf, model_id: str) -> Listing:
    """Return a model that can be waited for. Raises ListingNotFound, NotComing."""
    listing = shelf.find(model_id)
    if listing.model.state == "live":
        raise votes.NotComing(f"{listing.page.title} is live now: you can call it.")
    return listing


def _vote(form: VoteForm) -> Vote:
    volume = whole(form.volume, votes.VOLUME_MAX) if form.volume.strip() else None
    if form.volume.strip() and not volume:
        raise votes.bad_volume()
    return Vote(
        model_id=form.model,
        volume_million_tokens=volume,
        price_max_nanos=nanos_of_dollars(form.price, param="price") if form.price.strip() else None,
        use_case=lines(form.use_case).strip(),
    )
