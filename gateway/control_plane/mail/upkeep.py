"""Upkeep of the outbox: list mails, retry launch mails, delete old ones.

- A failed launch mail keeps its text for a while, so that it can be retried; one that may have
  arrived (`unknown`) is retried only when it is named and that is asked for.
- A mail with a link is never retried: its recipient asks for a new one.
- Finished mails lose their text at once or soon, and are deleted later. The row of a launch mail
  stays longer: its `ref` prevents a second mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.mail.outbox import ONCE, UNSUBSCRIBED
from gateway.errors import BadRequest, NotFound
from gateway.storage.tables import outbox

State = Literal["pending", "sending", "sent", "failed", "unknown"]

TEXT_DAYS = 7
"""How long the text of a failed launch mail is kept."""
ROW_DAYS = 7
"""How long the row of a finished mail with a link is kept."""
ONCE_ROW_DAYS = 92
"""How long the row of a launch mail is kept: far longer than a launch takes to write."""

_OVER = ("sent", "failed", "unknown")
_AT_ONCE = 10_000


class NothingToRetry(NotFound):
    """No such mail, or none that could be retried."""

    code = "mail_not_found"


class CannotRetry(BadRequest):
    """The mail must not be retried in its state."""

    code = "cannot_retry"


class MailStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A mail's state, without its text, which is private."""

    id: str
    kind: str
    recipient: str
    subject: str
    state: str
    attempts: int
    created_at: datetime
    due_at: datetime
    give_up_at: datetime
    reason: str


async def listed(
    connection: AsyncConnection, *, state: State | None, limit: int
) -> list[MailStatus]:
    """Return the newest mails, in one state or all."""
    columns = [outbox.c[name] for name in MailStatus.__struct_fields__]
    query = select(*columns).order_by(outbox.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(outbox.c.state == state)
    return [MailStatus(**row) for row in (await connection.execute(query)).mappings()]


async def retry(
    connection: AsyncConnection,
    ids: Sequence[str],
    *,
    lifetime: timedelta,
    even_unknown: bool = False,
) -> int:
    """Retry failed launch mails for a whole lifetime; return how many.

    Without ids: all that failed, at most _AT_ONCE. Raises NothingToRetry or CannotRetry.
    """
    for mail_id in ids:
        await _check(connection, mail_id, even_unknown=even_unknown)
    now = datetime.now(UTC)
    states = ("failed", "unknown") if ids and even_unknown else ("failed",)
    chosen = (
        select(outbox.c.id)
        .where(
            outbox.c.kind.in_(ONCE),
            outbox.c.state.in_(states),
            outbox.c.text != "",
            outbox.c.reason != UNSUBSCRIBED,
        )
        .order_by(outbox.c.id)
        .limit(_AT_ONCE)
        .with_for_update()  # skips mails that were sent while we waited for their rows
    )
    if ids:
        chosen = chosen.where(outbox.c.id.in_(ids))
    tried = await connection.execute(
        update(outbox)
        .where(outbox.c.id.in_(chosen))
        .values(state="pending", attempts=0, due_at=now, give_up_at=now + lifetime)
    )
    return tried.rowcount


async def forget_old(connection: AsyncConnection, *, keep_text: bool = False) -> None:
    """Clear finished mails and delete old ones, up to _AT_ONCE each."""
    now = datetime.now(UTC)
    links, over = outbox.c.kind.not_in(ONCE), outbox.c.state.in_(_OVER)
    gone = or_(
        links & (outbox.c.due_at < now - timedelta(days=ROW_DAYS)),
        outbox.c.due_at < now - timedelta(days=ONCE_ROW_DAYS),
    )
    old = select(outbox.c.id).where(over, gone).limit(_AT_ONCE).with_for_update()
    await connection.execute(delete(outbox).where(outbox.c.id.in_(old)))
    if keep_text:
        return
    no_use = or_(links, outbox.c.state == "sent", outbox.c.due_at < now - timedelta(days=TEXT_DAYS))
    full = select(outbox.c.id).where(over, outbox.c.text != "", no_use)
    full = full.limit(_AT_ONCE).with_for_update()
    await connection.execute(update(outbox).where(outbox.c.id.in_(full)).values(text="", html=""))


async def _check(connection: AsyncConnection, mail_id: str, *, even_unknown: bool) -> None:
    query = select(outbox.c.kind, outbox.c.state, outbox.c.text, outbox.c.reason)
    mail = (await connection.execute(query.where(outbox.c.id == mail_id))).one_or_none()
    if mail is None:
        raise NothingToRetry(f"There is no mail {mail_id!r}; see gateway mail list.")
    if mail.kind == "notice":
        raise CannotRetry(
            f"{mail_id} is too old: it tells what happened then; the console shows what is."
        )
    if mail.kind not in ONCE:
        raise CannotRetry(f"{mail_id} contains a link: its recipient can ask for a new one.")
    if mail.reason == UNSUBSCRIBED:
        raise CannotRetry(f"The recipient of {mail_id} has unsubscribed.")
    if mail.state == "unknown" and not even_unknown:
        raise CannotRetry(f"{mail_id} may have arrived; --even-unknown sends it anyway.")
    if mail.state not in ("failed", "unknown"):
        raise CannotRetry(f"{mail_id} is {mail.state}.")
    if not mail.text:
        raise CannotRetry(f"{mail_id} failed more than {TEXT_DAYS} days ago: its text is deleted.")
