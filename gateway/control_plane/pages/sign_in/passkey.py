"""Signing in with a passkey: the browser asks which, and no address is typed."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import URLEncodedBody

from gateway.control_plane.accounts import passkeys
from gateway.control_plane.accounts.passkeys import RelyingParty
from gateway.control_plane.pages.sign_in.entering import Entering, come_in
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form
from gateway.control_plane.web.parties import must_have
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

PATH = "/sign-in/passkey"


class AnswerForm(msgspec.Struct, frozen=True):
    """A passkey's answer, and the path that its owner was going to."""

    factor_answer: str = ""
    next: str = ""
    email: str = ""
    """Never typed; the page that a refused form stands on shows such a field."""


async def _sign_in_page(render: NamedDependency[Render]) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        typed = refused.typed.next if refused else ""
        return render("sign_in/form.html", path="/sign-in", refused=refused, next=typed)

    return page


@post(f"{PATH}/options", status_code=200)
async def ask_whose_passkey(
    database: NamedDependency[Database],
    sign_in_quota: NamedDependency[Quota],
    party: NamedDependency[RelyingParty | None],
    origin: NamedDependency[str],
) -> Response[str]:
    """Say what a browser must ask a passkey to sign."""
    asked = must_have(party)
    await sign_in_quota.take(origin)
    async with database.write() as connection:
        options = await passkeys.ask(connection, asked, None)
    return Response(options, media_type="application/json")


@post_form(PATH, "sign-in", _sign_in_page)
async def sign_in_by_passkey(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    entering: NamedDependency[Entering],
    cookie: NamedDependency[HostCookie],
    sign_in_quota: NamedDependency[Quota],
    party: NamedDependency[RelyingParty | None],
    origin: NamedDependency[str],
    data: URLEncodedBody[AnswerForm],
) -> Response[Any]:
    """Sign in whoever's passkey answers."""
    await sign_in_quota.take(origin)
    async with database.write() as connection:
        user_id = await passkeys.sign_in(connection, must_have(party), data.factor_answer)
        device = device_of(request, origin)
        session = await entering.enter_by_passkey(connection, user_id, device)
    return come_in(cookie, session, data.next)
