"""The outbox: mails that were decided on, in the same transaction as what they are about.

- A `ref` is unique, so nothing is written twice.
- A mail is marked as being sent, and only then handed over. When the process dies in between,
  nobody knows whether it went: a launch mail is then left alone (`unknown`), so that nobody ever
  gets it twice; a link that somebody waits for is tried again, since two links do no harm.
- What waits is bounded, tries are bounded, and the wait between them doubles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from sqlalchemy import case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.mail.smtp import MailLost, MailRefused, Sender
from gateway.errors import Unavailable
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import outbox

log = structlog.get_logger()

ONCE = ("launch",)
"""Kinds of which a second copy is worse than none."""

_BATCH = 20
_LEASE = timedelta(minutes=5)
_FIRST_WAIT_SECONDS = 15
_LISTED_MAX = 50


class OutboxFull(Unavailable):
    """More mails wait than the service takes on."""

    code = "mail_busy"


class SentMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail of the outbox, as the development page shows it."""

    id: str
    kind: str
    recipient: str
    subject: str
    text: str
    state: str
    created_at: datetime


class Outbox:
    """Takes mails on, and sends them; `deliver` is a job."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        pending_max: int,
        attempts_max: int,
        host: str,
        keep_text: bool = False,
    ) -> None:
        self._database = database
        self._sender = sender
        self._pending_max = pending_max
        self._attempts_max = attempts_max
        self._host = host
        self._keep_text = keep_text

    async def put(self, connection: AsyncConnection, mail: Mail) -> None:
        """Take on a mail somebody waits for, with the caller's transaction. Raises OutboxFull."""
        waiting = await connection.scalar(
            select(func.count())
            .select_from(outbox)
            # later waves of a launch must not keep anybody from signing in
            .where(outbox.c.state == "pending", outbox.c.due_at <= datetime.now(UTC))
        )
        if (waiting or 0) >= self._pending_max:
            raise OutboxFull("Too many mails wait to be sent. Try again in a few minutes.")
        await self.put_all(connection, [(mail, datetime.now(UTC))])

    async def put_all(
        self, connection: AsyncConnection, mails: Sequence[tuple[Mail, datetime]]
    ) -> None:
        """Take on mails, each with its time; those taken on before stay as they are."""
        if not mails:
            return
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        now = datetime.now(UTC)
        rows = [
            {
                **msgspec.structs.asdict(mail),
                "id": new_id(), "state": "pending", "attempts": 0,
                "created_at": now, "due_at": due_at, "reason": "",
            }
            for mail, due_at in mails
        ]  # fmt: skip
        statement = dialect.insert(outbox).on_conflict_do_nothing(index_elements=["ref"])
        await connection.execute(statement, rows)

    async def deliver(self) -> int:
        """Send what is due, and return how many were handed over."""
        await self._recover()
        sent = 0
        for mail_id, attempts, mail in await self._claim():
            try:
                await self._sender.send(mail, f"<{mail_id}@{self._host}>")
            except MailRefused as error:
                await self._refused(mail_id, attempts, str(error), for_good=error.for_good)
            except MailLost as error:
                state = "unknown" if mail.kind in ONCE else "pending"
                await self._finish(mail_id, state, str(error), wait=_wait(attempts))
            else:
                await self._finish(mail_id, "sent", "")
                sent += 1
        return sent

    async def listed(self) -> list[SentMail]:
        """Return the newest mails, for the page of development."""
        columns = [outbox.c[name] for name in SentMail.__struct_fields__]
        query = select(*columns).order_by(outbox.c.id.desc()).limit(_LISTED_MAX)
        async with self._database.read() as connection:
            return [SentMail(**row) for row in (await connection.execute(query)).mappings()]

    async def _claim(self) -> list[tuple[str, int, Mail]]:
        now = datetime.now(UTC)
        due = (
            select(outbox.c.id)
            .where(outbox.c.state == "pending", outbox.c.due_at <= now)
            .order_by(outbox.c.due_at)
            .limit(_BATCH)
        )
        async with self._database.read() as connection:  # don't take the write lock for nothing
            if not (await connection.execute(due)).first():
                return []
        async with self._database.write() as connection:
            claimed = await connection.execute(
                update(outbox)
                .where(outbox.c.id.in_(due.with_for_update(skip_locked=True)))
                .values(state="sending", attempts=outbox.c.attempts + 1, due_at=now + _LEASE)
                .returning(outbox)
            )
            return [
                (row.id, row.attempts, msgspec.convert(row, Mail, from_attributes=True))
                for row in claimed
            ]

    async def _recover(self) -> None:
        """Decide about mails whose process died while it sent them."""
        overdue = (outbox.c.state == "sending") & (outbox.c.due_at < datetime.now(UTC))
        async with self._database.read() as connection:
            if await connection.scalar(select(outbox.c.id).where(overdue).limit(1)) is None:
                return
        async with self._database.write() as connection:
            await connection.execute(
                update(outbox)
                .where(overdue)
                .values(
                    state=case((outbox.c.kind.in_(ONCE), "unknown"), else_="pending"),
                    reason="the process ended while it was sent",
                )
            )

    async def _refused(self, mail_id: str, attempts: int, reason: str, *, for_good: bool) -> None:
        given_up = for_good or attempts >= self._attempts_max
        if given_up:
            log.error("mail given up", mail=mail_id, reason=reason)
        await self._finish(
            mail_id, "failed" if given_up else "pending", reason, wait=_wait(attempts)
        )

    async def _finish(
        self, mail_id: str, state: str, reason: str, *, wait: timedelta = timedelta(0)
    ) -> None:
        now = datetime.now(UTC)
        values = {"state": state, "reason": reason, "due_at": now + wait}
        if state == "sent":
            values["sent_at"] = now
            if not self._keep_text:  # a link that worked once is nobody's business later
                values |= {"text": "", "html": ""}
        async with self._database.write() as connection:
            await connection.execute(update(outbox).where(outbox.c.id == mail_id).values(**values))


def _wait(attempts: int) -> timedelta:
    return timedelta(seconds=_FIRST_WAIT_SECONDS * 2 ** (attempts - 1))
