"""Upkeep of the outbox: list mails, retry launch mails and notices, delete old ones.

- A failed launch mail or notice keeps its text for a while, so that it can be retried; one that may
  have arrived (`unknown`) is retried only by its id, with `even_unknown`.
- A failed mail with a link is never retried: its recipient asks for a new one. While it waits for
  its next try, an operator can have it tried at once.
- Finished mails lose their text at once or soon, and are deleted later. The row of a launch mail
  stays longer: its `ref` prevents a second mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.mail.outbox import ONCE, QUIET, TOO_OLD, UNSUBSCRIBED
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id
from gateway.storage.tables import outbox

State = Literal["pending", "sending", "sent", "failed", "unknown"]

TEXT_DAYS = 7
"""How long the text of a failed launch mail or notice is kept."""
ROW_DAYS = 7
"""How long the row of a finished mail is kept, except that of a launch mail."""
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
    sent_at: datetime | None
    reason: str
    has_text: bool
    """Whether it still could be sent: finished mails lose their text."""

    @property
    def why_not(self) -> str:
        """Why it can't be sent again; empty if it can, even if it may have arrived."""
        if self.reason == UNSUBSCRIBED:
            return "its recipient has unsubscribed"
        if self.reason == TOO_OLD:
            return "it is too old: it says what was true then; the console shows what is true now"
        if self.state == "pending" and self.attempts:
            return ""
        if self.state in ("pending", "sending", "sent"):
            return f"it is {self.state}"
        if self.kind not in QUIET:
            return "it contains a link: its recipient can ask for a new one"
        return (
            "" if self.has_text else f"it failed more than {TEXT_DAYS} days ago: its text is gone"
        )


async def listed(
    connection: AsyncConnection,
    *,
    state: State | None = None,
    recipient: str = "",
    before: str | None = None,
    limit: int,
) -> list[MailStatus]:
    """Return the newest mails, in one state or all, to one address or all, before one of them."""
    query = _reading().order_by(outbox.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(outbox.c.state == state)
    if recipient:
        query = query.where(outbox.c.recipient == recipient.strip().lower())
    if before is not None:
        query = query.where(outbox.c.id < before)
    return [MailStatus(**row) for row in (await connection.execute(query)).mappings()]


async def read(connection: AsyncConnection, mail_id: str) -> MailStatus:
    """Return one mail. Raises NothingToRetry."""
    row = None
    if is_id(mail_id):
        found = await connection.execute(_reading().where(outbox.c.id == mail_id))
        row = found.mappings().one_or_none()
    if row is None:
        raise NothingToRetry(f"There is no email {mail_id[:80]!r}; see gateway mail list.")
    return MailStatus(**row)


async def named(connection: AsyncConnection, ids: Sequence[str]) -> list[MailStatus]:
    """Return the mails with some ids, the oldest first."""
    query = _reading().where(outbox.c.id.in_(ids)).order_by(outbox.c.id)
    return [MailStatus(**row) for row in (await connection.execute(query)).mappings()]


async def retry(
    connection: AsyncConnection, mail_id: str, *, lifetime: timedelta, even_unknown: bool = False
) -> MailStatus:
    """Send a mail again, with a whole new lifetime, or a waiting one now; return it as it was.

    Raises NothingToRetry or CannotRetry.
    """
    mail = await read(connection, mail_id)
    if mail.why_not:
        raise CannotRetry(f"{mail_id} can't be sent again: {mail.why_not}.")
    if mail.state == "unknown" and not even_unknown:
        raise CannotRetry(f"{mail_id} may have arrived; --even-unknown sends it anyway.")
    now = wall.now()
    again = {} if mail.state == "pending" else {"attempts": 0, "give_up_at": now + lifetime}
    # only if unchanged: it may have been sent in the meantime
    unchanged = (outbox.c.id == mail_id) & (outbox.c.state == mail.state)
    tried = await connection.execute(
        update(outbox).where(unchanged).values(state="pending", due_at=now, **again)
    )
    if not tried.rowcount:
        raise CannotRetry(f"{mail_id} changed in the meantime.")
    return mail


async def retry_failed(connection: AsyncConnection, *, lifetime: timedelta) -> int:
    """Send all launch mails that failed again, at most _AT_ONCE; return how many."""
    now = wall.now()
    chosen = (
        select(outbox.c.id)
        .where(
            outbox.c.kind.in_(ONCE),
            outbox.c.state == "failed",
            outbox.c.text != "",
            outbox.c.reason != UNSUBSCRIBED,
        )
        .order_by(outbox.c.id)
        .limit(_AT_ONCE)
        .with_for_update()  # skips mails that were sent while we waited for their rows
    )
    tried = await connection.execute(
        update(outbox)
        .where(outbox.c.id.in_(chosen))
        .values(state="pending", attempts=0, due_at=now, give_up_at=now + lifetime)
    )
    return tried.rowcount


async def forget_old(connection: AsyncConnection, *, keep_text: bool = False) -> None:
    """Clear finished mails and delete old ones, up to _AT_ONCE each."""
    now = wall.now()
    links, over = outbox.c.kind.not_in(ONCE), outbox.c.state.in_(_OVER)
    gone = or_(
        links & (outbox.c.due_at < now - timedelta(days=ROW_DAYS)),
        outbox.c.due_at < now - timedelta(days=ONCE_ROW_DAYS),
    )
    old = select(outbox.c.id).where(over, gone).limit(_AT_ONCE).with_for_update()
    await connection.execute(delete(outbox).where(outbox.c.id.in_(old)))
    if keep_text:
        return
    with_link = outbox.c.kind.not_in(QUIET)
    no_use = or_(
        with_link, outbox.c.state == "sent", outbox.c.due_at < now - timedelta(days=TEXT_DAYS)
    )
    full = select(outbox.c.id).where(over, outbox.c.text != "", no_use)
    full = full.limit(_AT_ONCE).with_for_update()
    await connection.execute(update(outbox).where(outbox.c.id.in_(full)).values(text="", html=""))


def _reading() -> Select[Any]:
    names = [name for name in MailStatus.__struct_fields__ if name != "has_text"]
    return select(*(outbox.c[name] for name in names), (outbox.c.text != "").label("has_text"))
