"""Signing in by a mailed link, and out.

The answer to an address is the same whoever it belongs to: whether there is an account is nobody's
business. Opening the link shows a button; the button signs in, with a fresh session.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.accounts import addresses, memberships, organizations
from gateway.control_plane.accounts.links import LinkSpent, Purpose
from gateway.control_plane.mail.messages import Mail, lasting
from gateway.control_plane.pages.parts import Site
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.forms import HOME, IN_PLACE, Refused, once, safe_path, see_other
from gateway.control_plane.web.visitors import must_be_read


class SignInForm(msgspec.Struct, frozen=True):
    """Who wants in, and where they were going."""

    email: str
    next: str = ""
    id: str = ""


class LinkForm(msgspec.Struct, frozen=True):
    """The button of a mailed link."""

    token: str


@get("/sign-in")
async def show_sign_in(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    next: FromQuery[str] = "",  # noqa: A002 - the name in the address
) -> Response[Any]:
    """Ask for an address; who is signed in goes on."""
    if request.user is not None:
        return see_other(safe_path(next))
    return site.renderer.page(request, "sign_in/form.html", next=next)


@post("/sign-in", status_code=200, opt={ANYBODYS: True})
async def ask_for_link(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[SignInForm]
) -> Response[Any]:
    """Mail a link, and say so."""
    try:
        await site.sign_ins.take(site.visitor(request))
        address = addresses.parse(data.email)
        async with site.database.write() as connection:
            ref = f"sign_in:{once(data.id, address.email)}"
            token = await site.link(connection, "sign_in", address, safe_path(data.next), ref=ref)
            if token is not None:
                await site.outbox.put(connection, _mail(site, address.email, token, ref))
    except IN_PLACE as error:
        refused = Refused("sign-in", error, data)
        return site.renderer.page(request, "sign_in/form.html", refused=refused, next=data.next)
    return site.renderer.page(
        request,
        "sign_in/sent.html",
        email=address.email,
        lasts=lasting(site.settings.mail_link_seconds),
        per_hour=site.settings.mail_links_per_hour,
    )


@get("/sign-in/link")
async def show_link(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    token: FromQuery[str],
    purpose: FromQuery[str] = "sign_in",
) -> Response[Any]:
    """Show what a link would do, and its button."""
    kind: Purpose = "invitation" if purpose == "invitation" else "sign_in"
    return await _page_of_link(request, site, kind, token)


async def _page_of_link(
    request: Request[Any, Any, Any],
    site: Site,
    kind: Purpose,
    token: str,
    *,
    refused: Refused | None = None,
) -> Response[Any]:
    try:
        async with site.database.read() as connection:
            link = await site.links.look(connection, kind, token)
            inviting = link.subject if kind == "invitation" else None
            host = await organizations.name_of(connection, inviting) if inviting else ""
    except LinkSpent as error:
        if request.user is not None and kind == "sign_in":
            return see_other(HOME)  # it was opened twice, and has done its work
        return used_up(request, site, error, kind)
    return site.renderer.page(
        request,
        "sign_in/link.html",
        refused=refused,
        link=link,
        organization=host,
        token=token,
        action=_ACTIONS[kind],
    )


@post("/sign-in/link")
async def use_link(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[LinkForm]
) -> Response[Any]:
    """Sign in: the address is shown to be theirs."""
    try:  # counted nowhere: to guess a link is out of the question, and an office has one address
        async with site.database.write() as connection:
            link = await site.links.use(connection, "sign_in", data.token)
            cookie = await site.enter(connection, addresses.Address(link.email))
    except IN_PLACE as error:
        refused = Refused("link", error)
        return await _page_of_link(request, site, "sign_in", data.token, refused=refused)
    return _welcome(site, cookie, safe_path(link.subject))


@post("/sign-in/invitation")
async def accept_invitation(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[LinkForm]
) -> Response[Any]:
    """Join the organization of an invitation, and sign in to it."""
    try:
        async with site.database.write() as connection:
            # its members first, as everywhere: whoever leaves last takes the invitations back
            link = await site.links.look(connection, "invitation", data.token)
            await memberships.lock(connection, link.subject)
            link = await site.links.use(connection, "invitation", data.token)
            cookie = await site.enter(connection, addresses.Address(link.email), joins=link.subject)
    except IN_PLACE as error:
        refused = Refused("link", error)
        return await _page_of_link(request, site, "invitation", data.token, refused=refused)
    return _welcome(site, cookie, "/console")


@post("/sign-out", opt={ANYBODYS: True})
async def sign_out(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> Response[Any]:
    """End the session, here and for whoever has a copy of the cookie. Raises DatabaseAway."""
    must_be_read(request.scope)
    if request.user is not None:
        await site.sessions.end(request.user.session_id)
    answer = see_other("/")
    answer.set_cookie(site.cookie.empty())
    return answer


def used_up(
    request: Request[Any, Any, Any], site: Site, error: LinkSpent, purpose: Purpose
) -> Response[str]:
    """Say that a mailed link can't be used any more, and where there are new ones."""
    message, way, href = _AGAIN[purpose]
    return site.renderer.page(
        request,
        "sign_in/again.html",
        status=error.status,
        heading="This link is used up",
        message=f"{error.message} {message}",
        way=way,
        href=href,
    )


_AGAIN: dict[Purpose, tuple[str, str, str]] = {
    "sign_in": ("Ask for a new one.", "Mail me a new one", "/sign-in"),
    "invitation": ("Whoever invited you can send another.", "To the console", "/console"),
    "waitlist": ("Ask for a new one on the model's page.", "See the models", "/models"),
}
_ACTIONS: dict[Purpose, str] = {"sign_in": "/sign-in/link", "invitation": "/sign-in/invitation"}


def _welcome(site: Site, cookie: str, path: str) -> Response[Any]:
    answer = see_other(path)
    answer.set_cookie(site.cookie.holding(cookie))
    return answer


def _mail(site: Site, email: str, token: str, ref: str) -> Mail:
    return site.writer.write(
        "sign_in",
        ref=ref,
        recipient=email,
        subject=f"Sign in to {site.settings.brand}",
        url=f"{site.settings.public_url}/sign-in/link?token={token}",
        lasts=lasting(site.settings.mail_link_seconds),
    )
