"""The settings page, and what it changes of the organization: name, key defaults, members."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import (
    addresses,
    identities,
    key_listing,
    links,
    memberships,
    organizations,
    rights,
)
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.key_revocation import EndedKeys, revoke_known_to
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.link_mails import LinkMails
from gateway.control_plane.accounts.memberships import OrganizationFull
from gateway.control_plane.accounts.organizations import KeyDefaults
from gateway.control_plane.accounts.rights import Role
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.mail.messages import plain
from gateway.control_plane.trail.entries import Personal
from gateway.control_plane.web.forms import FormPage, RefusedForm, once, post_form, see_other
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.control_plane.web.visitors import owner
from gateway.errors import BadRequest
from gateway.settings import Settings
from gateway.storage.database import Database

PATH = "/console/settings"
_SAVED = f"{PATH}?saved=1"


class BelongsAlready(BadRequest):
    """An invitation of someone who is a member already."""

    code = "belongs_already"


class NameForm(msgspec.Struct, frozen=True):
    """The organization's name."""

    name: str


class DefaultsForm(msgspec.Struct, frozen=True):
    """What new keys start with."""

    integers: Literal["refuse", "model"]
    truncate: Literal["refuse", "end", "start"]


class InviteForm(msgspec.Struct, frozen=True):
    """The address to invite, and the role that it gets. An owner is made of who belongs."""

    email: str
    role: Literal["member", "billing", "developer", "read_only"] = "member"
    id: str = ""


class WithdrawForm(msgspec.Struct, frozen=True):
    """The address whose invitation is taken back."""

    email: str


class RoleForm(msgspec.Struct, frozen=True):
    """A member's new role."""

    role: Role


class PartingForm(msgspec.Struct, frozen=True):
    """Whether to end the keys that a leaving member knows: a ticked box sends a word."""

    revoke: str = ""


async def settings_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
) -> FormPage:
    """Provide the page that all forms of the settings stand on."""

    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            members = await memberships.listed(connection, visitor.organization_id)
            connected = await identities.of_user(connection, visitor.user_id)
            defaults = await organizations.defaults(connection, visitor.organization_id)
            known = await key_listing.known_by_user(connection, visitor.organization_id)
            invited = await links.pending(connection, "invitation", visitor.organization_id)
        return render(
            "console/settings.html",
            path=PATH,
            section="settings",
            refused=refused,
            saved="saved" in request.query_params,
            members=members,
            roles=rights.WORDS,
            owners=sum(member.role == "owner" for member in members),
            connected=connected,
            known=known,
            invited=invited if visitor.role == "owner" else [],
            defaults=defaults,
        )

    return page


@get(PATH, dependencies={"page": Provide(settings_page)})
async def show_settings(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the organization, its members, and one's own data."""
    return await page(None)


@post_form(f"{PATH}/name", "name", settings_page, guards=[owner])
async def rename_organization(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[NameForm],
) -> Response[Any]:
    """Give the organization another name."""
    async with database.write() as connection:
        await organizations.rename(connection, visitor.organization_id, data.name)
        await trail.record(
            connection,
            "organization.renamed",
            trail.organization,
            before={"name": trail.personal(visitor.organization_name)},
            after={"name": trail.personal(data.name.strip())},
        )
    return see_other(_SAVED)


@post(f"{PATH}/keys", guards=[owner])
async def set_key_defaults(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[DefaultsForm],
) -> Response[Any]:
    """Say what new keys start with."""
    wanted = KeyDefaults(
        truncate=None if data.truncate == "refuse" else data.truncate,
        token_ids_from=None if data.integers == "refuse" else data.integers,
    )
    async with database.write() as connection:
        before = await organizations.defaults(connection, visitor.organization_id)
        await organizations.set_defaults(connection, visitor.organization_id, wanted)
        await trail.record(
            connection,
            "key_defaults.changed",
            trail.organization,
            before=msgspec.structs.asdict(before),
            after=msgspec.structs.asdict(wanted),
        )
    return see_other(_SAVED)


@post_form(f"{PATH}/invite", "invite", settings_page, guards=[owner], status_code=200)
async def invite(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    link_mails: NamedDependency[LinkMails],
    sign_in_quota: NamedDependency[Quota],
    invitation_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[InviteForm],
) -> Response[str]:
    """Mail an invitation. The answer does not tell whether the address has an account."""
    address = addresses.parse(data.email)
    name, meaning = rights.WORDS[data.role]
    async with database.read() as connection:
        await _check_new(connection, visitor, address, settings.organization_members_max)
    await sign_in_quota.take(origin)
    await invitation_quota.take(visitor.organization_id)
    async with database.write() as connection:
        is_sent = await link_mails.send(
            connection,
            "invitation",
            address,
            visitor.organization_id,
            request=once(data.id, address.email),
            subject=f"{visitor.email} invited you to "
            f"{plain(visitor.organization_name)} on {settings.brand}",
            as_role=data.role,
            maker=visitor.user_id,
            inviter=visitor.email,
            organization=plain(visitor.organization_name),
            role=name,
            meaning=meaning,
        )
        if is_sent:
            await links.give_role(connection, visitor.organization_id, address.email, data.role)
            await trail.record(
                connection,
                "invitation.sent",
                trail.organization,
                after={"address": Personal(address.email), "role": data.role},
            )
    return render("console/invited.html", section="settings", email=address.email)


@post(f"{PATH}/invitations/withdraw", guards=[owner])
async def withdraw_invitation(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[WithdrawForm],
) -> Response[Any]:
    """Take an invitation back: none of its mailed links works any more."""
    async with database.write() as connection:
        await links.take_back(connection, "invitation", visitor.organization_id, data.email)
        await trail.record(
            connection,
            "invitation.withdrawn",
            trail.organization,
            before={"address": Personal(data.email[: addresses.CHARACTERS_MAX])},
        )
    return see_other(_SAVED)


@post_form(PATH + "/members/{user_id:str}/role", "members", settings_page, guards=[owner, fresh])
async def change_role(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    security_mails: NamedDependency[SecurityMails],
    user_id: FromPath[str],
    data: URLEncodedBody[RoleForm],
) -> Response[Any]:
    """Give a member another role."""
    async with database.write() as connection:
        before = await memberships.change_role(
            connection, visitor.organization_id, user_id, data.role
        )
        if before != data.role:
            if data.role == "owner":
                await security_mails.owner_made(
                    connection, visitor.organization_id, user_id, visitor.user_id
                )
            await trail.record(
                connection,
                "member.role_changed",
                f"user:{user_id}",
                before={"role": before},
                after={"role": data.role},
            )
    return see_other(_SAVED)


@post_form(PATH + "/members/{user_id:str}/remove", "members", settings_page, guards=[owner, fresh])
async def remove_member(
    database: NamedDependency[Database],
    keys: NamedDependency[ApiKeys],
    trail: NamedDependency[MemberTrail],
    user_id: FromPath[str],
    data: URLEncodedBody[PartingForm],
) -> Response[Any]:
    """Remove a member and, where asked, end the keys that they know."""
    async with database.write() as connection:
        ended = await part(connection, trail, "member.removed", user_id, data)
    await keys.tell(ended)
    return see_other(PATH)


async def part(
    connection: AsyncConnection, trail: MemberTrail, action: str, user_id: str, form: PartingForm
) -> list[bytes]:
    """Remove a member, as `action` says; return the digests of the keys that ended with it."""
    organization_id = trail.organization_id
    role = await memberships.remove(connection, organization_id, user_id)
    ended = EndedKeys(0, [])
    if form.revoke:
        ended = await revoke_known_to(connection, organization_id, user_id)
    await trail.record(
        connection,
        action,
        f"user:{user_id}",
        before={"role": role},
        after={"keys_revoked": ended.keys},
    )
    return ended.digests


async def _check_new(
    connection: AsyncConnection, visitor: Visitor, address: Address, members_max: int
) -> None:
    members = await memberships.listed(connection, visitor.organization_id)
    if address.email in {member.email for member in members}:
        who = "You belong" if address.email == visitor.email else f"{address.email} belongs"
        raise BelongsAlready(f"{who} to this organization already.", param="email")
    if len(members) >= members_max:
        raise OrganizationFull("The organization has the maximum number of members.")
