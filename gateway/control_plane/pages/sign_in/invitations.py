"""Accepting an invitation.

An invitation grants a place and nothing else: mails of this kind are forwarded and wait for days,
so only who is signed in as the invited address can accept it. Anybody else is shown a button that
mails a sign-in link to that address, which leads back here.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import URLEncodedBody

from gateway.control_plane.accounts import memberships, organizations, rights
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.link_mails import PATHS, LinkMails
from gateway.control_plane.accounts.links import LinkSpent, MailLink, MailLinks
from gateway.control_plane.accounts.sessions import Sessions, Visitor
from gateway.control_plane.pages.sign_in.codes import sent_page
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.error_pages import spent_link
from gateway.control_plane.web.forms import (
    HOME,
    FormPage,
    RefusedForm,
    form_of,
    once,
    post_form,
    see_other,
)
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/sign-in/invitation"


class InvitationForm(msgspec.Struct, frozen=True):
    """The button of an invitation."""

    token: str
    id: str = ""


async def _page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    links: NamedDependency[MailLinks],
) -> FormPage:
    """Provide the page of an invitation; a refused form brings its own token."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        token = refused.typed.token if refused else request.query_params.get("token", "")
        try:
            async with database.read() as connection:
                link = await links.look(connection, "invitation", token)
                host = await organizations.name_of(connection, link.subject)
        except LinkSpent as error:
            return spent_link(render, error, "invitation")
        return render(
            "sign_in/invitation.html",
            refused=refused,
            email=link.email,
            is_theirs=_is_theirs(request.user, link),
            organization=host,
            role=rights.WORDS[link.role or "member"],
            token=token,
            next=f"{PATHS['invitation']}{token}",
        )

    return page


@get(PATH, dependencies={"page": Provide(_page)})
async def show_invitation(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show what an invitation gives, and the button for it."""
    return await page(None)


@post_form(PATH, "link", _page, status_code=200)
async def accept_invitation(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    links: NamedDependency[MailLinks],
    link_mails: NamedDependency[LinkMails],
    sessions: NamedDependency[Sessions],
    sign_in_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[InvitationForm],
) -> Response[Any]:
    """Join the organization, or mail a sign-in link to the invited address."""
    async with database.read() as connection:
        link = await links.look(connection, "invitation", data.token)
    visitor: Visitor | None = request.user
    if visitor is not None and _is_theirs(visitor, link):
        await _join(database, links, data.token, visitor, origin, settings)
        await sessions.switch(visitor.session_id, visitor.user_id, link.subject)
        return see_other(HOME)
    await sign_in_quota.take(origin)
    form_id = form_of(data.id)
    async with database.write() as connection:
        await link_mails.send(
            connection,
            "sign_in",
            Address(link.email),
            f"{PATHS['invitation']}{data.token}",
            request=once(form_id, link.email),
            form=form_id,
            subject=f"Sign in to {settings.brand}",
            device=device_of(request, origin),
        )
    return sent_page(render, settings, link.email, form_id)


async def _join(
    database: Database,
    links: MailLinks,
    token: str,
    visitor: Visitor,
    origin: str,
    settings: Settings,
) -> None:
    """Use an invitation. Raises LinkSpent or OrganizationFull."""
    async with database.write() as connection:
        # lock its members first, as everywhere: the last who leaves takes the invitations back
        link = await links.look(connection, "invitation", token)
        await memberships.lock(connection, link.subject)
        link = await links.use(connection, "invitation", token)
        role = link.role or "member"
        has_joined = await memberships.add(
            connection,
            visitor.user_id,
            link.subject,
            role,
            members_max=settings.organization_members_max,
        )
        if has_joined:
            trail = MemberTrail.of(visitor.user_id, link.subject, origin)
            await trail.record(
                connection, "member.joined", f"user:{visitor.user_id}", after={"role": role}
            )


def _is_theirs(visitor: Visitor | None, link: MailLink) -> bool:
    return visitor is not None and visitor.email == link.email
