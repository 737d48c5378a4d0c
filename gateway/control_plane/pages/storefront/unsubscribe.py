"""One-click unsubscribing, and the development page that shows sent mails."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.web.csrf import EXEMPT
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.settings import Settings
from gateway.storage.database import Database


@get("/mail/unsubscribe/{token:str}")
async def show_unsubscribe(
    render: NamedDependency[Render],
    unsubscriptions: NamedDependency[Unsubscriptions],
    token: FromPath[str],
) -> Response[str]:
    """Show the button; mail programs post without it."""
    email = _email(unsubscriptions, token)
    return render("mail/unsubscribe.html", email=email, token=token, done=False)


@post("/mail/unsubscribe/{token:str}", status_code=200, opt={EXEMPT: True})
async def confirm_unsubscribe(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    unsubscriptions: NamedDependency[Unsubscriptions],
    token: FromPath[str],
) -> Response[str]:
    """Send no more mail. Mail programs have no form token: the link is the proof."""
    email = _email(unsubscriptions, token)
    async with database.write() as connection:
        await unsubscribe.add(connection, email)
    return render("mail/unsubscribe.html", email=email, token=token, done=True)


@get("/dev/mail")
async def show_sent(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    outbox: NamedDependency[Outbox],
) -> Response[str]:
    """Show the newest mails; exists in development only."""
    if not settings.dev_mail:
        raise PageNotFound("There is nothing here.")
    return render("mail/sent.html", mails=await outbox.listed())


def _email(unsubscriptions: Unsubscriptions, token: str) -> str:
    email = unsubscriptions.read(token)
    if email is None:
        raise PageNotFound("This is not a link of ours.")
    return email
