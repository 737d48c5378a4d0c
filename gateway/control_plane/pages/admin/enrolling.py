"""An operator's first second factor, set with the address that another operator gave them."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, URLEncodedBody
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import enrollments, passkeys
from gateway.control_plane.accounts.authenticators import Authenticators
from gateway.control_plane.accounts.passkeys import RelyingParty
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.accounts.sessions import Sessions, Visitor
from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import Actor
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.parties import must_have
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound, SignInNeeded, must_be_read
from gateway.storage.database import Database

PATH = "/admin/enroll"


class EnrollmentForm(msgspec.Struct, frozen=True):
    """The token of the address, and a code of the app or the answer of a new passkey."""

    token: str
    sealed: str = ""
    factor_code: str = ""
    factor_answer: str = ""
    name: str = "My passkey"


@get(PATH)
async def show_enrollment(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    authenticators: NamedDependency[Authenticators],
    render: NamedDependency[Render],
    token: FromQuery[str] = "",
) -> Response[Any]:
    """Offer an authenticator app and a passkey to the operator whose token it is."""
    return await _page(request, database, authenticators, render, token)(None)


async def _enrollment_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    authenticators: NamedDependency[Authenticators],
    render: NamedDependency[Render],
) -> FormPage:
    return _page(request, database, authenticators, render)


@post_form(PATH, "enroll", _enrollment_page)
async def enroll(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    sessions: NamedDependency[Sessions],
    authenticators: NamedDependency[Authenticators],
    party: NamedDependency[RelyingParty | None],
    origin: NamedDependency[str],
    security_mails: NamedDependency[SecurityMails],
    data: URLEncodedBody[EnrollmentForm],
) -> Response[Any]:
    """Set the factor, and open the back office."""
    visitor: Visitor | None = request.user
    if visitor is None:
        raise PageNotFound("There is nothing here.")
    async with database.write() as connection:
        await enrollments.use(connection, data.token, visitor.user_id)
        if data.factor_answer:
            await passkeys.add(
                connection, must_have(party), visitor.user_id, data.name, data.factor_answer
            )
        else:
            await authenticators.set_up(connection, visitor.user_id, data.sealed, data.factor_code)
        await sessions.verify(connection, visitor.session_id)
        method = "A passkey" if data.factor_answer else "An authenticator app"
        await security_mails.method_added(connection, visitor.user_id, method, origin)
        await _record(connection, request, origin, is_passkey=bool(data.factor_answer))
    return see_other("/admin")


@post(f"{PATH}/options", status_code=200)
async def ask_for_first_passkey(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    party: NamedDependency[RelyingParty | None],
    data: URLEncodedBody[EnrollmentForm],
) -> Response[str]:
    """Say what a browser must make a passkey for."""
    visitor: Visitor | None = request.user
    async with database.write() as connection:
        if visitor is None or not await enrollments.is_open(
            connection, data.token, visitor.user_id
        ):
            raise PageNotFound("There is nothing here.")
        options = await passkeys.ask_to_add(
            connection, must_have(party), visitor.user_id, visitor.email
        )
    return Response(options, media_type="application/json")


def _page(
    request: Request[Any, Any, Any],
    database: Database,
    authenticators: Authenticators,
    render: Render,
    token: str = "",
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[Any]:
        must_be_read(request.scope)
        held = refused.typed.token if refused else token
        visitor: Visitor | None = request.user
        async with database.read() as connection:
            owner = visitor.user_id if visitor else None
            if not await enrollments.is_open(connection, held, owner):
                raise PageNotFound("There is nothing here.")
        if visitor is None:
            raise SignInNeeded("Sign in to set up your second factor.")
        sealed = refused.typed.sealed if refused else ""
        offer = authenticators.offer(visitor.user_id, visitor.email, sealed)
        return render("admin/enroll.html", path=PATH, refused=refused, token=held, offer=offer)

    return page


async def _record(
    connection: AsyncConnection,
    request: Request[Any, Any, Any],
    origin: str,
    *,
    is_passkey: bool,
) -> None:
    actor = Actor(kind="operator", user_id=request.user.user_id, origin=origin)
    kind = "passkey" if is_passkey else "authenticator"
    await entries.record(
        connection, actor, "sign_in_method.added", f"user:{actor.user_id}", after={"method": kind}
    )


ENROLLING = (show_enrollment, enroll, ask_for_first_passkey)
"""The handlers, which are for operators who have proved nothing yet."""
