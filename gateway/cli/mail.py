"""`gateway mail`: what became of mails, and another try once the mail server works again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import rich_click as click

from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.mail import upkeep
from gateway.identifiers import is_id
from gateway.settings import Settings


@click.group("mail")
def mail_group() -> None:
    """Mails: recipients, and what became of them."""


@mail_group.command("list")
@click.option(
    "--state", type=click.Choice(get_args(upkeep.State)), help="Only mails in this state."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@asynchronous
async def list_mail(*, state: Any, limit: int, as_json: bool) -> None:
    """List mails, newest first. `failed` were given up, `unknown` may have arrived."""
    async with opened() as database, database.read() as connection:
        found = await upkeep.listed(connection, state=state, limit=limit)
    columns = ["id", "kind", "recipient", "state", "attempts", "due_at", "reason"]
    show(found, as_json=as_json, title="mails", columns=columns)


@mail_group.command("retry")
@click.argument("ids", nargs=-1)
@click.option("--even-unknown", is_flag=True, help="Include named mails that may have arrived.")
@as_json
@asynchronous
async def retry_mail(ids: tuple[str, ...], *, even_unknown: bool, as_json: bool) -> None:
    """Retry failed launch mails: the named ones, or all.

    A running gateway sends them. Mails with a link are not retried.
    """
    lifetime = timedelta(seconds=Settings.from_environment().mail_once_seconds)
    unknown = [mail_id for mail_id in ids if not is_id(mail_id)]
    if unknown:
        raise upkeep.NothingToRetry(f"There is no mail {unknown[0]!r}; see gateway mail list.")
    async with opened() as database, database.write() as connection:
        tried = await upkeep.retry(connection, ids, lifetime=lifetime, even_unknown=even_unknown)
    if as_json:
        show({"retried": tried}, as_json=True)
        return
    say(f"{tried} will be retried." if tried else "There is no failed mail to retry.")
