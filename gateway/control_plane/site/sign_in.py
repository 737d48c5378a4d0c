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
from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.site.forms import safe_path, see_other
from gateway.control_plane.site.parts import Site
from gateway.identifiers import new_id


class SignInForm(msgspec.Struct, frozen=True):
    """Who wants in, and where they were going."""

    email: str
    next: str = ""


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
    return site.renderer.page(request, "sign_in/form.html", next=next, email="", problem="")


@post("/sign-in", status_code=200)
async def ask_for_link(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[SignInForm]
) -> Response[Any]:
    """Mail a link, and say so."""
    await site.sign_ins.take(site.visitor(request))
    try:
        address = addresses.parse(data.email)
    except addresses.BadAddress as error:
        return site.renderer.page(
            request,
            "sign_in/form.html",
            status=400,
            next=data.next,
            email=data.email,
            problem=error.message,
        )
    async with site.database.write() as connection:
        token = await site.links.create(connection, "sign_in", address, safe_path(data.next))
        if token is not None:
            await site.outbox.put(connection, _mail(site, address.email, token))
    return site.renderer.page(request, "sign_in/sent.html", email=address.email)


@get("/sign-in/link")
async def show_link(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    token: FromQuery[str],
    purpose: FromQuery[str] = "sign_in",
) -> Response[str]:
    """Show what a link would do, and its button."""
    kind: Purpose = "invitation" if purpose == "invitation" else "sign_in"
    try:
        async with site.database.read() as connection:
            link = await site.links.look(connection, kind, token)
            inviting = link.subject if kind == "invitation" else None
            host = await organizations.name_of(connection, inviting) if inviting else ""
    except LinkSpent as error:
        return site.renderer.page(
            request,
            "sign_in/again.html",
            status=error.status,
            heading="This link is used up",
            message=error.message,
            way="Mail me a new one",
        )
    return site.renderer.page(
        request,
        "sign_in/link.html",
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
    await site.sign_ins.take(site.visitor(request))
    async with site.database.write() as connection:
        link = await site.links.use(connection, "sign_in", data.token)
        cookie = await site.enter(connection, addresses.Address(link.email))
    return _welcome(site, cookie, safe_path(link.subject))


@post("/sign-in/invitation")
async def accept_invitation(
    request: Request[Any, Any, Any], site: NamedDependency[Site], data: URLEncodedBody[LinkForm]
) -> Response[Any]:
    """Join the organization of an invitation, and sign in to it."""
    await site.sign_ins.take(site.visitor(request))
    async with site.database.write() as connection:
        # its members first, as everywhere: whoever leaves last takes the invitations back
        link = await site.links.look(connection, "invitation", data.token)
        await memberships.lock(connection, link.subject)
        link = await site.links.use(connection, "invitation", data.token)
        cookie = await site.enter(connection, addresses.Address(link.email), joins=link.subject)
    return _welcome(site, cookie, "/console")


@post("/sign-out")
async def sign_out(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> Response[Any]:
    """End the session, here and for whoever has a copy of the cookie."""
    if request.user is not None:
        await site.sessions.end(request.user.session_id)
    answer = see_other("/")
    answer.set_cookie(site.cookie.empty())
    return answer


_ACTIONS: dict[Purpose, str] = {"sign_in": "/sign-in/link", "invitation": "/sign-in/invitation"}


def _welcome(site: Site, cookie: str, path: str) -> Response[Any]:
    answer = see_other(path)
    answer.set_cookie(site.cookie.holding(cookie))
    return answer


def _mail(site: Site, email: str, token: str) -> Mail:
    return site.writer.write(
        "sign_in",
        ref=f"sign_in:{new_id()}",
        recipient=email,
        subject=f"Sign in to {site.settings.brand}",
        url=f"{site.settings.public_url}/sign-in/link?token={token}",
        minutes=round(site.settings.mail_link_seconds / 60),
    )
