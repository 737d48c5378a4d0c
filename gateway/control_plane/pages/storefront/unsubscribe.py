"""One-click unsubscribing, and the page of development that shows what was sent."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.pages.parts import PageNotFound, Site
from gateway.control_plane.web.csrf import EXEMPT


@get("/mail/unsubscribe/{token:str}")
async def show_unsubscribe(
    request: Request[Any, Any, Any], site: NamedDependency[Site], token: FromPath[str]
) -> Response[str]:
    """Show the button for people; mail programs post at once."""
    return site.renderer.page(
        request, "mail/unsubscribe.html", email=_email(site, token), token=token, done=False
    )


@post("/mail/unsubscribe/{token:str}", status_code=200, opt={EXEMPT: True})
async def confirm_unsubscribe(
    request: Request[Any, Any, Any], site: NamedDependency[Site], token: FromPath[str]
) -> Response[str]:
    """Send no more. Needs no form token: mail programs have none, and the address is the proof."""
    email = _email(site, token)
    async with site.database.write() as connection:
        await unsubscribe.add(connection, email)
    return site.renderer.page(request, "mail/unsubscribe.html", email=email, token=token, done=True)


@get("/dev/mail")
async def show_sent(request: Request[Any, Any, Any], site: NamedDependency[Site]) -> Response[str]:
    """Show the newest mails: in development only, elsewhere this page is not there."""
    if not site.settings.dev_mail:
        raise PageNotFound("There is nothing here.")
    return site.renderer.page(request, "mail/sent.html", mails=await site.outbox.listed())


def _email(site: Site, token: str) -> str:
    email = site.unsubscriptions.read(token)
    if email is None:
        raise PageNotFound("This is not a link of ours.")
    return email
