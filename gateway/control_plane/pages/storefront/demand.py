"""Being ready when a model lands, and saying that one wants it."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.accounts import addresses
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.links import LinkSpent
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing
from gateway.control_plane.demand import votes, waitlist
from gateway.control_plane.demand.votes import Vote
from gateway.control_plane.mail.messages import lasting
from gateway.control_plane.pages.parts import Site
from gateway.control_plane.pages.sign_in.mail import used_up
from gateway.control_plane.pages.storefront import models
from gateway.control_plane.web.forms import (
    IN_PLACE,
    Refused,
    lines,
    once,
    safe_path,
    see_other,
    whole,
)
from gateway.control_plane.web.visitors import signed_in


class VoteForm(msgspec.Struct, frozen=True):
    """A vote as it was typed."""

    model: str
    volume: str = ""
    price: str = ""
    use_case: str = ""


class ModelForm(msgspec.Struct, frozen=True):
    """A button of one model; `back` is the page that it stands on."""

    model: str
    back: str = ""


class WaitlistForm(msgspec.Struct, frozen=True):
    """Who wants to hear of a launch; somebody signed in gives no address."""

    model: str
    email: str = ""
    id: str = ""


class ConfirmForm(msgspec.Struct, frozen=True):
    """The button of a mailed link."""

    token: str


@post("/vote", guards=[signed_in])
async def vote(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[VoteForm]
) -> Response[Any]:
    """Count a vote of whoever is signed in."""
    listing = coming(site, data.model)
    try:
        await site.votes.take(site.visitor(request))
        async with site.database.write() as connection:
            await votes.cast(connection, request.user, _vote(data))
            await site.interest.recount(connection, listing.model.id)
    except IN_PLACE as error:
        refused = Refused("vote", error, data)
        return await models.page_of_model(request, site, listing, refused=refused)
    return see_other(f"{listing.path}#demand")


@post("/vote/withdraw", guards=[signed_in])
async def withdraw_vote(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[ModelForm]
) -> Response[Any]:
    """Take a vote back."""
    await site.votes.take(site.visitor(request))
    # a model that is retired by now has no page, and the vote for it can be taken back all the same
    async with site.database.write() as connection:
        await votes.withdraw(connection, request.user, data.model)
        await site.interest.recount(connection, data.model)
    return see_other(safe_path(data.back or f"/models/{data.model}#demand"))


@post("/waitlist")
async def join_waitlist(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[WaitlistForm]
) -> Response[Any]:
    """Put somebody signed in on the list; mail everybody else a link first."""
    listing = coming(site, data.model)
    visitor: Visitor | None = request.user
    try:
        await site.votes.take(site.visitor(request))
        if visitor is None:
            return await _ask_to_confirm(request, site, listing, data)
        async with site.database.write() as connection:
            await waitlist.join(
                connection, listing.model.id, Address(visitor.email), visitor.user_id
            )
    except IN_PLACE as error:
        refused = Refused("waitlist", error, data)
        return await models.page_of_model(request, site, listing, refused=refused)
    return see_other(f"{listing.path}#demand")


async def _ask_to_confirm(
    request: Request[Any, Any, Any], site: Site, listing: Listing, data: WaitlistForm
) -> Response[str]:
    address = addresses.parse(data.email)
    async with site.database.write() as connection:
        ref = f"waitlist:{once(data.id, address.email)}"
        token = await site.link(connection, "waitlist", address, listing.model.id, ref=ref)
        if token is not None:
            await site.outbox.put(
                connection,
                site.writer.write(
                    "waitlist",
                    ref=ref,
                    recipient=address.email,
                    subject=f"Confirm: tell me when {listing.page.title} is live",
                    title=listing.page.title,
                    url=f"{site.settings.public_url}/waitlist/confirm?token={token}",
                    lasts=lasting(site.settings.mail_invitation_seconds),
                ),
            )
    return site.renderer.page(request, "waitlist/sent.html", email=address.email, listing=listing)


@post("/waitlist/leave", guards=[signed_in])
async def leave_waitlist(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[ModelForm]
) -> Response[Any]:
    """Take whoever is signed in off the list."""
    async with site.database.write() as connection:
        await waitlist.leave(connection, data.model, request.user.address_key)
    return see_other(safe_path(data.back or f"/models/{data.model}#demand"))


@get("/waitlist/confirm")
async def show_confirm(
    request: Request[Any, Any, Any], site: NamedDependency[Site], token: FromQuery[str]
) -> Response[Any]:
    """Show what the mailed link would do, and its button."""
    return await _page_of_link(request, site, token)


async def _page_of_link(
    request: Request[Any, Any, Any], site: Site, token: str, *, refused: Refused | None = None
) -> Response[Any]:
    try:
        async with site.database.read() as connection:
            link = await site.links.look(connection, "waitlist", token)
    except LinkSpent as error:
        return await _page_of_used(request, site, token) or used_up(
            request, site, error, "waitlist"
        )
    listing = site.listing(link.subject)
    if listing.model.state == "live":
        return see_other(listing.path)  # what they wanted to hear of stands there
    return site.renderer.page(
        request,
        "waitlist/confirm.html",
        refused=refused,
        link=link,
        token=token,
        listing=listing,
    )


async def _page_of_used(
    request: Request[Any, Any, Any], site: Site, token: str
) -> Response[str] | None:
    """Say once more to somebody that they are on the list; None where they are not."""
    async with site.database.read() as connection:
        try:
            link = await site.links.used(connection, "waitlist", token)
        except LinkSpent:
            return None
        key = Address(link.email).key
        if not await waitlist.is_waiting(connection, key, link.subject):
            return None
    listing = site.listing(link.subject)
    return site.renderer.page(request, "waitlist/done.html", email=link.email, listing=listing)


@post("/waitlist/confirm")
async def confirm(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[ConfirmForm]
) -> Response[Any]:
    """Put a confirmed address on the list."""
    try:
        async with site.database.write() as connection:
            link = await site.links.use(connection, "waitlist", data.token)
            listing = coming(site, link.subject)
            await waitlist.join(connection, listing.model.id, Address(link.email), None)
    except IN_PLACE as error:
        return await _page_of_link(request, site, data.token, refused=Refused("confirm", error))
    return see_other(f"/waitlist/confirm?token={data.token}")


def coming(site: Site, model_id: str) -> Listing:
    """Return a model that can be waited for. Raises PageNotFound, NotComing."""
    listing = site.listing(model_id)
    if listing.model.state == "live":
        raise votes.NotComing(
            f"{listing.page.title} is live by now: you can call it, there is nothing to wait for."
        )
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
