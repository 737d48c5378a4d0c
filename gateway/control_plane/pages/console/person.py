"""What the settings page changes of the person: memberships, sign-ins, and their data."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import URLEncodedBody

from gateway.control_plane.accounts import identities, memberships, privacy, rights, users
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.sessions import Sessions, Visitor, end_all
from gateway.control_plane.pages.console.organization import (
    PATH,
    PartingForm,
    part,
    settings_page,
)
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.forms import HOME, post_form, see_other
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.control_plane.web.visitors import PageNotFound
from gateway.errors import BadRequest
from gateway.identifiers import is_id
from gateway.storage.database import Database

ORGANIZATIONS = "/console/organizations"
_SHOWN_MAX = 200


class NotConfirmed(BadRequest):
    """Something that can't be undone was not confirmed."""

    code = "not_confirmed"


class OrganizationForm(msgspec.Struct, frozen=True):
    """The organization to act for."""

    organization: str


class DeleteForm(msgspec.Struct, frozen=True):
    """One's own address, typed again."""

    confirm: str = ""


@post_form(f"{PATH}/leave", "members", settings_page)
async def leave_organization(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    keys: NamedDependency[ApiKeys],
    sessions: NamedDependency[Sessions],
    cookie: NamedDependency[HostCookie],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    origin: NamedDependency[str],
    data: URLEncodedBody[PartingForm],
) -> Response[Any]:
    """Leave the current organization, and go on in another."""
    async with database.write() as connection:
        user_id = visitor.user_id
        ended = await part(connection, trail, "member.left", user_id, data)
        user = await users.find(connection, user_id)
        assert user is not None
        session = await sessions.begin(
            connection,
            user.id,
            user.organization_id,
            device_of(request, origin),
            verified_at=visitor.verified_at,
        )
    await sessions.end(visitor.session_id)  # the new session knows nothing of this organization
    await keys.tell(ended)
    answer = see_other(HOME)
    answer.set_cookie(cookie.holding(session))
    return answer


@post(f"{PATH}/moved")
async def note_move(
    sessions: NamedDependency[Sessions], visitor: NamedDependency[Visitor]
) -> Response[Any]:
    """Close the notice that the visitor now acts for another organization."""
    await sessions.understood(visitor.session_id)
    return see_other(HOME)


@get(ORGANIZATIONS)
async def list_organizations(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
) -> Response[str]:
    """List the organizations that the visitor belongs to, each with a button to act for it."""
    async with database.read() as connection:
        own = await memberships.of_user(connection, visitor.user_id)
    return render(
        "console/organizations.html",
        section="organizations",
        organizations=own[:_SHOWN_MAX],
        more=len(own) - _SHOWN_MAX,
        roles=rights.WORDS,
    )


@post(f"{PATH}/organization")
async def switch_organization(
    sessions: NamedDependency[Sessions],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[OrganizationForm],
) -> Response[Any]:
    """Act for another of the visitor's organizations."""
    target = data.organization
    if not is_id(target) or not await sessions.switch(visitor.session_id, visitor.user_id, target):
        raise PageNotFound("There is no such organization.")
    return see_other(HOME)


@post(f"{PATH}/github/disconnect")
async def disconnect_github(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
) -> Response[Any]:
    """Stop signing in with GitHub; the mailed link always works."""
    async with database.write() as connection:
        if await identities.disconnect(connection, visitor.user_id, "github"):
            await trail.record(
                connection, "sign_in_method.removed", trail.person, before={"method": "github"}
            )
    return see_other(PATH)


@post(f"{PATH}/sessions/end")
async def end_sessions(
    database: NamedDependency[Database],
    cookie: NamedDependency[HostCookie],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
) -> Response[Any]:
    """Sign out here and everywhere else: a laptop may be lost."""
    async with database.write() as connection:
        await end_all(connection, visitor.user_id)
        await trail.record(connection, "sessions.ended", trail.person)
    answer = see_other("/")
    answer.set_cookie(cookie.empty())
    return answer


@get(f"{PATH}/export")
async def export_data(
    database: NamedDependency[Database], visitor: NamedDependency[Visitor]
) -> Response[bytes]:
    """Download all that is kept about a person, as JSON."""
    async with database.read() as connection:
        held = await privacy.export(connection, visitor)
    return Response(
        msgspec.json.format(msgspec.json.encode(held)),
        media_type="application/json",
        headers={"content-disposition": 'attachment; filename="my-data.json"'},
    )


@post_form(f"{PATH}/delete", "delete", settings_page, guards=[fresh], status_code=200)
async def delete_account(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    cookie: NamedDependency[HostCookie],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[DeleteForm],
) -> Response[Any]:
    """Forget a person who typed their own address again."""
    if data.confirm.strip().lower() != visitor.email:
        raise NotConfirmed(
            "Type your own address to delete the account; nothing was deleted.", param="confirm"
        )
    async with database.write() as connection:
        await privacy.forget(connection, visitor)
    request.scope["user"] = None
    answer = render(
        "again.html",
        heading="Your account is deleted",
        message="What remains in the books doesn't name you. You can come back at any time.",
        way="Sign in again",
    )
    answer.set_cookie(cookie.empty())
    return answer
