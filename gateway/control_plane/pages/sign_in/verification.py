"""Proving once more who one is: by an authenticator app, a passkey, or a new sign-in by mail.

The back office has an address of its own for it, which is nothing to anyone but operators.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromQuery, URLEncodedBody
from litestar.response import Redirect

from gateway.control_plane.accounts import passkeys
from gateway.control_plane.accounts.authenticators import Authenticators
from gateway.control_plane.accounts.passkeys import RelyingParty
from gateway.control_plane.accounts.sessions import Sessions, Visitor
from gateway.control_plane.web import verification
from gateway.control_plane.web.forms import IN_PLACE, RefusedForm, safe_path
from gateway.control_plane.web.parties import must_have
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.rendering import Renderer
from gateway.control_plane.web.verification import ADMIN_PATH, PATH
from gateway.control_plane.web.visitors import PageNotFound, signed_in
from gateway.storage.database import Database


class ProofForm(msgspec.Struct, frozen=True):
    """A code or a passkey's answer, and what to do then: go to a path, or send it the form."""

    factor_code: str = ""
    factor_answer: str = ""
    factor_next: str = ""
    factor_resend: str = ""


def _known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let in who is signed in, and to the back office's address operators alone."""
    visitor: Visitor | None = connection.user
    if connection.scope["path"] == ADMIN_PATH and (visitor is None or not visitor.operator_role):
        raise PageNotFound("There is nothing here.")
    signed_in(connection, handler)


@get([PATH, ADMIN_PATH], guards=[_known])
async def show_verification(
    request: Request[Any, Any, Any],
    renderer: NamedDependency[Renderer],
    next: FromQuery[str] = "",  # noqa: A002 - the name in the address
) -> Response[Any]:
    """Ask for a proof."""
    return verification.show(renderer, request, next)


@post([PATH, ADMIN_PATH], guards=[_known])
async def verify(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    sessions: NamedDependency[Sessions],
    authenticators: NamedDependency[Authenticators],
    renderer: NamedDependency[Renderer],
    factor_quota: NamedDependency[Quota],
    party: NamedDependency[RelyingParty | None],
    data: URLEncodedBody[ProofForm],
) -> Response[Any]:
    """Check a proof, and go on: to a page, or with the form that needed it."""
    visitor: Visitor = request.user
    path = safe_path(data.factor_next)
    try:
        await factor_quota.take(visitor.user_id)
        async with database.write() as connection:
            if data.factor_answer:
                answer = data.factor_answer
                await passkeys.prove(connection, must_have(party), visitor.user_id, answer)
            else:
                await authenticators.prove(connection, visitor.user_id, data.factor_code)
            await sessions.verify(connection, visitor.session_id)
    except IN_PLACE as error:
        kept = verification.sent_fields(request) if data.factor_resend else None
        refused = RefusedForm("verify", error, data)
        return verification.show(renderer, request, path, resend=kept, refused=refused)
    return Redirect(path, status_code=307 if data.factor_resend else 303)


@post(f"{PATH}/options", guards=[signed_in], status_code=200)
async def ask_for_passkey(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    factor_quota: NamedDependency[Quota],
    party: NamedDependency[RelyingParty | None],
) -> Response[str]:
    """Say what a browser must ask its passkey to sign."""
    asked = must_have(party)
    await factor_quota.take(request.user.user_id)
    async with database.write() as connection:
        options = await passkeys.ask(connection, asked, request.user.user_id)
    return Response(options, media_type="application/json")
