"""`gateway mail`: what became of mails, and another try once the mail server works again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import rich_click as click

from gateway.cli.acting import acting_as, because, operator_of
from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import mails
from gateway.control_plane.mail import upkeep
from gateway.settings import Settings


@click.group("mail")
def mail_group() -> None:
    """Emails: recipients and delivery."""


@mail_group.command("list", epilog="Example: gateway mail list --to me@example.com")
@click.option(
    "--state", type=click.Choice(get_args(upkeep.State)), help="Only emails in this state."
)
@click.option("--to", "recipient", default="", help="Only emails to this address.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@asynchronous
async def list_mail(*, state: Any, recipient: str, limit: int, as_json: bool) -> None:
    """List mails, newest first. `failed` were given up, `unknown` may have arrived."""
    async with opened() as database, database.read() as connection:
        found = await upkeep.listed(connection, state=state, recipient=recipient, limit=limit)
    columns = ["id", "kind", "recipient", "state", "attempts", "due_at", "reason"]
    show(found, as_json=as_json, title="mails", columns=columns)


@mail_group.command("retry", epilog="Example: gateway mail retry MAIL_ID")
@click.argument("ids", nargs=-1)
@click.option(
    "--even-unknown", is_flag=True, help="Include the named emails even if they may have arrived."
)
@acting_as
@because
@as_json
@asynchronous
async def retry_mail(
    ids: tuple[str, ...], *, even_unknown: bool, acting: str | None, reason: str, as_json: bool
) -> None:
    """Send mails again: the named ones, or all launch mails that failed.

    A running gateway sends them. A mail with a link can only be hurried while it waits for its next
    try.
    """
    lifetime = timedelta(seconds=Settings.from_environment().mail_once_seconds)
    tried = len(ids)
    async with opened() as database, database.write() as connection:
        operator = await operator_of(connection, acting)
        for mail_id in ids:
            await mails.resend(
                connection,
                operator,
                mail_id,
                lifetime=lifetime,
                reason=reason,
                even_unknown=even_unknown,
            )
        if not ids:
            tried = await mails.resend_failed(
                connection, operator, lifetime=lifetime, reason=reason
            )
    if as_json:
        show({"retried": tried}, as_json=True)
        return
    say(f"{tried} will be retried." if tried else "There is no failed email to retry.")
