"""A person's passkeys, authenticator app and sessions.

Changes of what signs in need a fresh proof. An operator's first factor is set by enrollment alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import (
    authenticators,
    passkey_listing,
    passkeys,
    session_listing,
)
from gateway.control_plane.accounts.authenticators import Authenticators
from gateway.control_plane.accounts.passkeys import RelyingParty
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.parties import must_have
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.verification import fresh
from gateway.errors import BadRequest
from gateway.storage.database import Database

PATH = "/console/security"
_SAVED = f"{PATH}?saved=1"

Method = Literal["passkey", "authenticator"]
_NAMES: Mapping[Method, str] = {"passkey": "A passkey", "authenticator": "An authenticator app"}


class EnrollFirst(BadRequest):
    """An operator must set their first factor with the address that another operator gives them."""

    code = "enroll_first"


class PasskeyForm(msgspec.Struct, frozen=True):
    """A passkey's name, and a device's answer."""

    name: str = "My passkey"
    factor_answer: str = ""


class AppForm(msgspec.Struct, frozen=True):
    """The secret that was offered, and a code of the app that has it."""

    sealed: str
    factor_code: str


async def security_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    party: NamedDependency[RelyingParty | None],
) -> FormPage:
    """Provide the page that the forms stand on."""

    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            keys = await passkey_listing.listed(connection, visitor.user_id)
            app_since = await authenticators.set_up_at(connection, visitor.user_id)
            sessions = await session_listing.of_user(connection, visitor.user_id)
        return render(
            "console/security.html",
            path=PATH,
            section="security",
            refused=refused,
            saved="saved" in request.query_params,
            passkeys=keys,
            passkeys_work=party is not None,
            app_since=app_since,
            sessions=sessions,
        )

    return page


@get(PATH, dependencies={"page": Provide(security_page)})
async def show_security(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show what signs in, and where."""
    return await page(None)


@post(f"{PATH}/passkeys/options", status_code=200, guards=[fresh])
async def ask_for_new_passkey(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    party: NamedDependency[RelyingParty | None],
) -> Response[str]:
    """Say what a browser must make a passkey for."""
    _check_enrolled(visitor)
    asked = must_have(party)
    async with database.write() as connection:
        options = await passkeys.ask_to_add(connection, asked, visitor.user_id, visitor.email)
    return Response(options, media_type="application/json")


@post_form(f"{PATH}/passkeys", "passkey", security_page, guards=[fresh])
async def add_passkey(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    party: NamedDependency[RelyingParty | None],
    trail: NamedDependency[MemberTrail],
    security_mails: NamedDependency[SecurityMails],
    data: URLEncodedBody[PasskeyForm],
) -> Response[Any]:
    """Keep a passkey that a device made."""
    _check_enrolled(visitor)
    asked = must_have(party)
    async with database.write() as connection:
        await passkeys.add(connection, asked, visitor.user_id, data.name, data.factor_answer)
        await _added(connection, security_mails, trail, "passkey")
    return see_other(_SAVED)


@post_form(PATH + "/passkeys/{passkey_id:str}", "passkey", security_page)
async def rename_passkey(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    passkey_id: FromPath[str],
    data: URLEncodedBody[PasskeyForm],
) -> Response[Any]:
    """Give a passkey another name."""
    async with database.write() as connection:
        await passkey_listing.rename(connection, visitor.user_id, passkey_id, data.name)
    return see_other(_SAVED)


@post_form(PATH + "/passkeys/{passkey_id:str}/remove", "passkey", security_page, guards=[fresh])
async def remove_passkey(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    passkey_id: FromPath[str],
) -> Response[Any]:
    """Remove a passkey: it signs in no more."""
    async with database.write() as connection:
        await passkey_listing.remove(connection, visitor.user_id, passkey_id)
        await _removed(connection, trail, "passkey")
    return see_other(_SAVED)


async def _app_page(
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    authenticators: NamedDependency[Authenticators],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        sealed = refused.typed.sealed if refused else ""
        offer = authenticators.offer(visitor.user_id, visitor.email, sealed)
        return render(
            "console/authenticator.html",
            path=f"{PATH}/app",
            section="security",
            refused=refused,
            offer=offer,
        )

    return page


@get(f"{PATH}/app", dependencies={"page": Provide(_app_page)}, guards=[fresh])
async def show_app(
    page: NamedDependency[FormPage], visitor: NamedDependency[Visitor]
) -> Response[Any]:
    """Offer a secret for an authenticator app."""
    _check_enrolled(visitor)
    return await page(None)


@post_form(f"{PATH}/app", "app", _app_page, guards=[fresh])
async def set_up_app(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    authenticators: NamedDependency[Authenticators],
    factor_quota: NamedDependency[Quota],
    trail: NamedDependency[MemberTrail],
    security_mails: NamedDependency[SecurityMails],
    data: URLEncodedBody[AppForm],
) -> Response[Any]:
    """Set up an authenticator app, in place of the one before."""
    _check_enrolled(visitor)
    await factor_quota.take(visitor.user_id)
    async with database.write() as connection:
        await authenticators.set_up(connection, visitor.user_id, data.sealed, data.factor_code)
        await _added(connection, security_mails, trail, "authenticator")
    return see_other(_SAVED)


@post(f"{PATH}/app/remove", guards=[fresh])
async def remove_app(
    database: NamedDependency[Database],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
) -> Response[Any]:
    """Remove the authenticator app."""
    async with database.write() as connection:
        if await authenticators.remove(connection, visitor.user_id):
            await _removed(connection, trail, "authenticator")
    return see_other(_SAVED)


@post_form(PATH + "/sessions/{session_id:str}/end", "sessions", security_page)
async def end_session(
    database: NamedDependency[Database],
    cookie: NamedDependency[HostCookie],
    visitor: NamedDependency[Visitor],
    session_id: FromPath[str],
) -> Response[Any]:
    """End one session, here or elsewhere."""
    async with database.write() as connection:
        await session_listing.end(connection, visitor.user_id, session_id)
    if session_id != visitor.session_id:
        return see_other(_SAVED)
    answer = see_other("/")
    answer.set_cookie(cookie.empty())
    return answer


def _check_enrolled(visitor: Visitor) -> None:
    if visitor.operator_role and not (visitor.has_authenticator or visitor.has_passkey):
        raise EnrollFirst(
            "You are an operator: set up your first factor with the link you were given, or ask "
            "for a new one."
        )


async def _added(
    connection: AsyncConnection, mails: SecurityMails, trail: MemberTrail, method: Method
) -> None:
    """Tell the person of a new way to sign in, and record it."""
    user_id = trail.actor.user_id
    assert user_id
    await mails.method_added(connection, user_id, _NAMES[method], trail.actor.origin)
    await trail.record(connection, "sign_in_method.added", trail.person, after={"method": method})


async def _removed(connection: AsyncConnection, trail: MemberTrail, method: Method) -> None:
    await trail.record(
        connection, "sign_in_method.removed", trail.person, before={"method": method}
    )
