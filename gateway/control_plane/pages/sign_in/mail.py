"""Signing in by a mailed link, and out.

The answer to an address is the same whether or not it has an account. Opening the link shows a
button; the button signs in, with a fresh session.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.accounts import addresses
from gateway.control_plane.accounts.link_mails import PATHS, LinkMails
from gateway.control_plane.accounts.links import LinkSpent, MailLinks
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.pages.sign_in.codes import sent_page
from gateway.control_plane.pages.sign_in.entering import Entering, come_in
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.error_pages import spent_link
from gateway.control_plane.web.forms import (
    HOME,
    FormPage,
    RefusedForm,
    form_of,
    once,
    post_form,
    safe_path,
    see_other,
)
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import must_be_read
from gateway.settings import Settings
from gateway.storage.database import Database


class SignInForm(msgspec.Struct, frozen=True):
    """An address that wants in, and the path it was going to."""

    email: str
    next: str = ""
    id: str = ""


class LinkForm(msgspec.Struct, frozen=True):
    """The button of a mailed link."""

    token: str


@get("/sign-in")
async def show_sign_in(
    request: Request[Any, Any, Any],
    render: NamedDependency[Render],
    next: FromQuery[str] = "",  # noqa: A002 - the name in the address
) -> Response[Any]:
    """Ask for an address; a visitor who is signed in goes on."""
    if request.user is not None:
        return see_other(safe_path(next))
    return render("sign_in/form.html", next=next)


async def _sign_in_page(render: NamedDependency[Render]) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        typed = refused.typed.next if refused else ""
        return render("sign_in/form.html", refused=refused, next=typed)

    return page


@post_form("/sign-in", "sign-in", _sign_in_page, status_code=200, opt={ANYBODYS: True})
async def ask_for_link(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    link_mails: NamedDependency[LinkMails],
    sign_in_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[SignInForm],
) -> Response[Any]:
    """Email a link and its code, and say so."""
    await sign_in_quota.take(origin)
    address, form_id = addresses.parse(data.email), form_of(data.id)
    async with database.write() as connection:
        await link_mails.send(
            connection,
            "sign_in",
            address,
            safe_path(data.next),
            request=once(form_id, address.email),
            form=form_id,
            subject=f"Sign in to {settings.brand}",
            device=device_of(request, origin),
        )
    return sent_page(render, settings, address.email, form_id)


async def _link_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    links: NamedDependency[MailLinks],
) -> FormPage:
    """Provide the page of a link; a refused form brings its own token."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        token = refused.typed.token if refused else request.query_params.get("token", "")
        try:
            async with database.read() as connection:
                link = await links.look(connection, "sign_in", token)
        except LinkSpent as error:
            if request.user is not None:
                return see_other(HOME)  # it was opened twice, and has done its work
            return spent_link(render, error, "sign_in")
        return render("sign_in/link.html", refused=refused, email=link.email, token=token)

    return page


@get("/sign-in/link", dependencies={"page": Provide(_link_page)})
async def show_link(
    page: NamedDependency[FormPage], purpose: FromQuery[str] = "", token: FromQuery[str] = ""
) -> Response[Any]:
    """Show what a link does, and its button."""
    if purpose == "invitation":  # mailed before 0.2
        return see_other(f"{PATHS['invitation']}{quote(token)}")
    return await page(None)


@post_form("/sign-in/link", "link", _link_page)
async def use_link(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    links: NamedDependency[MailLinks],
    entering: NamedDependency[Entering],
    cookie: NamedDependency[HostCookie],
    origin: NamedDependency[str],
    data: URLEncodedBody[LinkForm],
) -> Response[Any]:
    """Sign in: the address is shown to be theirs."""
    # counted nowhere: to guess a link is out of the question, and an office has one address
    async with database.write() as connection:
        link = await links.use(connection, "sign_in", data.token)
        address, device = addresses.Address(link.email), device_of(request, origin)
        session = await entering.enter(connection, address, device)
    return come_in(cookie, session, link.subject)


@post("/sign-out", opt={ANYBODYS: True})
async def sign_out(
    request: Request[Any, Any, Any],
    sessions: NamedDependency[Sessions],
    cookie: NamedDependency[HostCookie],
) -> Response[Any]:
    """End the session, here and for every copy of the cookie. Raises DatabaseAway."""
    must_be_read(request.scope)
    if request.user is not None:
        await sessions.end(request.user.session_id)
    answer = see_other("/")
    answer.set_cookie(cookie.empty())
    return answer
