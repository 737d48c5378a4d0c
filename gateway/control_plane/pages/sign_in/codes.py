"""What follows a request for a link: the page that says it was sent, and takes its code."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import URLEncodedBody

from gateway.control_plane.accounts import addresses
from gateway.control_plane.accounts.codes import TRIES_MAX, SignInCodes, WrongSignInCode
from gateway.control_plane.mail.messages import lasting
from gateway.control_plane.pages.sign_in.entering import Entering, come_in
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.csrf import ANYBODYS
from gateway.control_plane.web.devices import device_of
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.rendering import Render
from gateway.settings import Settings
from gateway.storage.database import Database


class CodeForm(msgspec.Struct, frozen=True):
    """A code, the address that was sent it, and the form that asked for it."""

    code: str
    email: str
    id: str = ""


def sent_page(
    render: Render,
    settings: Settings,
    email: str,
    form_id: str,
    refused: RefusedForm | None = None,
) -> Response[str]:
    """Say that a link was sent, and ask for its code."""
    return render(
        "sign_in/sent.html",
        refused=refused,
        email=email,
        form_id=form_id,
        lasts=lasting(settings.mail_link_seconds),
        per_hour=settings.mail_links_per_hour,
    )


async def _code_page(
    render: NamedDependency[Render], settings: NamedDependency[Settings]
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        assert refused
        return sent_page(render, settings, refused.typed.email, refused.typed.id, refused)

    return page


@post_form("/sign-in/code", "code", _code_page, opt={ANYBODYS: True})
async def use_code(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    sign_in_codes: NamedDependency[SignInCodes],
    entering: NamedDependency[Entering],
    cookie: NamedDependency[HostCookie],
    sign_in_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[CodeForm],
) -> Response[Any]:
    """Sign in: whoever reads the mailbox typed the code where it was asked for."""
    await sign_in_quota.take(origin)
    address, device = addresses.parse(data.email), device_of(request, origin)
    async with database.write() as connection:
        link = await sign_in_codes.use(connection, address, data.id, data.code)
        session = await entering.enter(connection, address, device) if link else None
    if link is None or session is None:  # the try is counted all the same
        raise WrongSignInCode(
            "That code isn't right. Type the one in the newest email, or open its link: after "
            f"{TRIES_MAX} wrong codes only the link works.",
            param="code",
        )
    return come_in(cookie, session, link.subject)
