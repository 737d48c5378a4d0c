"""Settings: the organization, its members, and one's own data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import (
    addresses,
    identities,
    key_listing,
    links,
    memberships,
    organizations,
    privacy,
    sessions,
    users,
)
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.keys import revoke_made_by
from gateway.control_plane.accounts.memberships import OrganizationFull, Role
from gateway.control_plane.accounts.organizations import KeyDefaults
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.mail.messages import lasting, plain
from gateway.control_plane.pages.parts import PageNotFound, Site
from gateway.control_plane.web.forms import IN_PLACE, Refused, once, see_other
from gateway.control_plane.web.visitors import owner
from gateway.errors import BadRequest
from gateway.identifiers import is_id

_PATH = "/console/settings"
_SAVED = f"{_PATH}?saved=1"


class NotConfirmed(BadRequest):
    """Something that can't be undone, without the word that it was meant."""

    code = "not_confirmed"


class BelongsAlready(BadRequest):
    """An invitation of somebody who is there."""

    code = "belongs_already"


class NameForm(msgspec.Struct, frozen=True):
    """The organization's name."""

    name: str


class DefaultsForm(msgspec.Struct, frozen=True):
    """What new keys start with."""

    integers: Literal["refuse", "model"]
    truncate: Literal["refuse", "end", "start"]


class InviteForm(msgspec.Struct, frozen=True):
    """Who is to join."""

    email: str
    id: str = ""


class WithdrawForm(msgspec.Struct, frozen=True):
    """Whose invitation is taken back."""

    email: str


class RoleForm(msgspec.Struct, frozen=True):
    """What a member is to be."""

    role: Role


class PartingForm(msgspec.Struct, frozen=True):
    """What becomes of the keys that somebody made who goes: a ticked box sends a word."""

    revoke: str = ""


class OrganizationForm(msgspec.Struct, frozen=True):
    """Which organization to act for."""

    organization: str


class DeleteForm(msgspec.Struct, frozen=True):
    """One's own address, typed in once more."""

    confirm: str = ""


@get(_PATH)
async def show_settings(
    request: Request[Any, Any, Any], site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[str]:
    """Show them."""
    return await _page(request, site, visitor)


async def _page(
    request: Request[Any, Any, Any],
    site: Site,
    visitor: Visitor,
    *,
    refused: Refused | None = None,
) -> Response[str]:
    async with site.database.read() as connection:
        members = await memberships.listed(connection, visitor.organization_id)
        own = await memberships.of_user(connection, visitor.user_id)
        connected = await identities.of_user(connection, visitor.user_id)
        defaults = await organizations.defaults(connection, visitor.organization_id)
        made = await key_listing.active_by_maker(connection, visitor.organization_id)
        invited = await links.pending(connection, "invitation", visitor.organization_id)
    return site.renderer.page(
        request,
        "console/settings.html",
        path=_PATH,
        section="settings",
        refused=refused,
        saved="saved" in request.query_params,
        members=members,
        owners=sum(member.role == "owner" for member in members),
        organizations=own,
        connected=connected,
        made=made,
        invited=invited if visitor.role == "owner" else [],
        defaults=defaults,
    )


@post(f"{_PATH}/name", guards=[owner])
async def rename_organization(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[NameForm],
) -> Response[Any]:
    """Give the organization another name."""
    try:
        async with site.database.write() as connection:
            await organizations.rename(connection, visitor.organization_id, data.name)
    except IN_PLACE as error:
        return await _page(request, site, visitor, refused=Refused("name", error, data))
    return see_other(_SAVED)


@post(f"{_PATH}/keys", guards=[owner])
async def set_key_defaults(
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[DefaultsForm],
) -> Response[Any]:
    """Say what new keys start with."""
    wanted = KeyDefaults(
        truncate=None if data.truncate == "refuse" else data.truncate,
        token_ids_from=None if data.integers == "refuse" else data.integers,
    )
    async with site.database.write() as connection:
        await organizations.set_defaults(connection, visitor.organization_id, wanted)
    return see_other(_SAVED)


@post(f"{_PATH}/invite", guards=[owner], status_code=200)
async def invite(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[InviteForm],
) -> Response[str]:
    """Mail an invitation. The answer does not tell whether the address has an account."""
    try:
        address = await _invite(request, site, visitor, data)
    except IN_PLACE as error:
        return await _page(request, site, visitor, refused=Refused("invite", error, data))
    return site.renderer.page(
        request, "console/invited.html", section="settings", email=address.email
    )


async def _invite(
    request: Request[Any, Any, Any], site: Site, visitor: Visitor, data: InviteForm
) -> Address:
    address = addresses.parse(data.email)
    async with site.database.read() as connection:
        members = await memberships.listed(connection, visitor.organization_id)
    if address.email in {member.email for member in members}:
        who = "You belong" if address.email == visitor.email else f"{address.email} belongs"
        raise BelongsAlready(f"{who} to this organization already.", param="email")
    await site.sign_ins.take(site.visitor(request))
    await site.invitations.take(visitor.organization_id)
    async with site.database.write() as connection:
        members = await memberships.listed(connection, visitor.organization_id)
        if len(members) >= site.settings.organization_members_max:
            raise OrganizationFull("The organization has as many members as it can have.")
        ref = f"invitation:{once(data.id, address.email)}"
        token = await site.link(connection, "invitation", address, visitor.organization_id, ref=ref)
        if token is not None:
            url = f"{site.settings.public_url}/sign-in/link?purpose=invitation&token={token}"
            await site.outbox.put(
                connection,
                site.writer.write(
                    "invitation",
                    ref=ref,
                    recipient=address.email,
                    subject=f"An invitation to {site.settings.brand}",
                    url=url,
                    inviter=visitor.email,
                    organization=plain(visitor.organization_name),
                    lasts=lasting(site.settings.mail_invitation_seconds),
                ),
            )
    return address


@post(f"{_PATH}/invitations/withdraw", guards=[owner])
async def withdraw_invitation(
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[WithdrawForm],
) -> Response[Any]:
    """Take an invitation back: its links, however many were mailed, lead nowhere."""
    async with site.database.write() as connection:
        await links.take_back(connection, "invitation", visitor.organization_id, data.email)
    return see_other(_SAVED)


@post(_PATH + "/members/{user_id:str}/role", guards=[owner])
async def change_role(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    user_id: FromPath[str],
    data: URLEncodedBody[RoleForm],
) -> Response[Any]:
    """Make a member an owner, or an owner a member."""
    try:
        async with site.database.write() as connection:
            await memberships.change_role(connection, visitor.organization_id, user_id, data.role)
    except IN_PLACE as error:
        return await _page(request, site, visitor, refused=Refused("members", error))
    return see_other(_SAVED)


@post(_PATH + "/members/{user_id:str}/remove", guards=[owner])
async def remove_member(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    user_id: FromPath[str],
    data: URLEncodedBody[PartingForm],
) -> Response[Any]:
    """Remove a member, and end the keys that they made where that is asked for."""
    try:
        async with site.database.write() as connection:
            ended = await _remove(connection, visitor, user_id, data)
    except IN_PLACE as error:
        return await _page(request, site, visitor, refused=Refused("members", error))
    await site.keys.tell(ended)
    return see_other(_PATH)


@post(f"{_PATH}/leave")
async def leave_organization(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[PartingForm],
) -> Response[Any]:
    """Leave the organization that one acts for, and go on in another."""
    try:
        async with site.database.write() as connection:
            ended = await _remove(connection, visitor, visitor.user_id, data)
            user = await users.find(connection, visitor.user_id)
            assert user is not None
            session = await site.sessions.begin(connection, user.id, user.organization_id)
    except IN_PLACE as error:
        return await _page(request, site, visitor, refused=Refused("members", error))
    await site.sessions.end(visitor.session_id)  # the new one knows nothing of this
    await site.keys.tell(ended)
    answer = see_other("/console")
    answer.set_cookie(site.cookie.holding(session))
    return answer


async def _remove(
    connection: AsyncConnection, visitor: Visitor, user_id: str, data: PartingForm
) -> list[bytes]:
    """Remove somebody and return the digests of the keys that ended with it."""
    await memberships.remove(connection, visitor.organization_id, user_id)
    if not data.revoke:
        return []
    return await revoke_made_by(connection, visitor.organization_id, user_id)


@post(f"{_PATH}/moved")
async def note_move(
    site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[Any]:
    """Take note that one acts for another organization than before."""
    await site.sessions.understood(visitor.session_id)
    return see_other("/console")


@post(f"{_PATH}/organization")
async def switch_organization(
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[OrganizationForm],
) -> Response[Any]:
    """Act for another organization that one belongs to."""
    target = data.organization
    if not is_id(target) or not await site.sessions.switch(
        visitor.session_id, visitor.user_id, target
    ):
        raise PageNotFound("There is no such organization.")
    return see_other("/console")


@post(f"{_PATH}/github/disconnect")
async def disconnect_github(
    site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[Any]:
    """Let GitHub sign nobody in to this account any more; the mailed link always can."""
    async with site.database.write() as connection:
        await identities.disconnect(connection, visitor.user_id, "github")
    return see_other(_PATH)


@post(f"{_PATH}/sessions/end")
async def end_sessions(
    site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[Any]:
    """Sign out here and everywhere else: a laptop may be lost."""
    async with site.database.write() as connection:
        await sessions.end_all(connection, visitor.user_id)
    answer = see_other("/")
    answer.set_cookie(site.cookie.empty())
    return answer


@get(f"{_PATH}/export")
async def export_data(
    site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[bytes]:
    """Give everything that is kept about a person."""
    async with site.database.read() as connection:
        held = await privacy.export(connection, visitor)
    return Response(
        msgspec.json.format(msgspec.json.encode(held)),
        media_type="application/json",
        headers={"content-disposition": 'attachment; filename="my-data.json"'},
    )


@post(f"{_PATH}/delete", status_code=200)
async def delete_account(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[DeleteForm],
) -> Response[Any]:
    """Forget a person, when their address was typed in once more."""
    if data.confirm.strip().lower() != visitor.email:
        error = NotConfirmed(
            "Type your own address to delete the account; nothing was deleted.", param="confirm"
        )
        return await _page(request, site, visitor, refused=Refused("delete", error, data))
    async with site.database.write() as connection:
        await privacy.forget(connection, visitor)
    request.scope["user"] = None
    answer = site.renderer.page(
        request,
        "sign_in/again.html",
        heading="Your account is deleted",
        message="What is left in the books names nobody. You can come back at any time.",
        way="Sign in again",
    )
    answer.set_cookie(site.cookie.empty())
    return answer
