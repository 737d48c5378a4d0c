"""The outbox: mails are stored in the transaction of what they are about, and sent by a job.

- A `ref` is unique, so no mail is stored twice.
- Mails are claimed (`sending`) and sent by a few senders, each one at a time; a job that is stopped
  finishes the current ones. If the process dies in between, no one knows whether the mail was sent:
  a launch mail becomes `unknown` and is not sent again, so that no one gets it twice. A link is
  sent again, since a second link does no harm, and a notice too: an alert that arrives twice is
  better than one that never does. So notices are sent at least once, and twice only after a crash
  in these seconds.
- Mails that someone waits for go first, those to addresses with an account before those to
  strangers; then notices, then launch mails. `pending_max` bounds each of the first two groups, so
  that strangers never keep anyone from signing in, nor the reverse.
- Retries are limited by time, and the wait between them doubles up to an hour: a link is retried
  while it is valid, a notice or a launch mail for days.
- Unsubscriptions are checked when a mail is sent, not when it is written.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import ColumnElement, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.mail.smtp import MailLost, MailRefused, Sender
from gateway.errors import Unavailable
from gateway.identifiers import new_id
from gateway.storage.database import Database, count, insert_into
from gateway.storage.tables import outbox, unsubscriptions

log = structlog.get_logger()

ONCE = ("launch",)
"""Kinds that no one waits for, where a second copy would be worse than none."""
QUIET = ("notice", "account", "security", *ONCE)
"""Kinds that no one waits for."""
OUTCOMES = ("sent", "retried", "failed", "unknown")
UNSUBSCRIBED = "unsubscribed before it left"
TOO_OLD = "it could not be sent in time, and is too old now"
TURN_SECONDS = 30.0
"""How long a run starts new mails; with SEND_SECONDS it must fit into a job's time limit."""

_LEASE = timedelta(minutes=5)
_FIRST_WAIT = timedelta(seconds=15)
_LONGEST_WAIT = timedelta(hours=1)
_LISTED_MAX = 50


class OutboxFull(Unavailable):
    """Too many mails are waiting."""

    code = "mail_busy"


class SentMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail of the outbox, for the development page."""

    id: str
    kind: str
    recipient: str
    subject: str
    text: str
    state: str
    created_at: datetime


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long mails are retried, in seconds."""

    link_seconds: float
    """Sign-in links: as long as the link is valid."""
    invitation_seconds: float
    """Invitations and waitlist confirmations."""
    quiet_seconds: float
    """Kinds in QUIET, counted from when they were due."""

    def of(self, kind: str) -> timedelta:
        """Return how long a kind of mail is retried."""
        if kind in QUIET:
            return timedelta(seconds=self.quiet_seconds)
        is_link = kind == "sign_in"
        return timedelta(seconds=self.link_seconds if is_link else self.invitation_seconds)


class _Claim(NamedTuple):
    """A mail that this process is sending; no other takes it before the lease ends."""

    id: str
    attempts: int
    give_up_at: datetime
    lease_ends_at: datetime
    mail: Mail


class Outbox:
    """Stores mails and sends them; `deliver` is a job."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        pending_max: int,
        lifetimes: Lifetimes,
        host: str,
        senders: int = 1,
        keep_text: bool = False,
    ) -> None:
        self._database = database
        self._sender = sender
        self._pending_max = pending_max
        self.lifetimes = lifetimes
        self._host = host
        self._senders = senders
        self._keep_text = keep_text
        self.outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
        """What became of mails that this process handed over, for the metrics."""

    async def put(self, connection: AsyncConnection, mail: Mail) -> None:
        """Store a mail that someone waits for, in the caller's transaction. Raises OutboxFull."""
        waiting = await count(
            connection,
            outbox,
            outbox.c.state == "pending",
            outbox.c.kind.not_in(QUIET),
            outbox.c.for_stranger == mail.for_stranger,
        )
        if waiting >= self._pending_max:
            raise OutboxFull("Too many mails are waiting to be sent. Try again in a few minutes.")
        await self.put_all(connection, [(mail, wall.now())])

    async def holds(self, connection: AsyncConnection, ref: str) -> bool:
        """Tell whether a mail with this ref is stored."""
        return await connection.scalar(select(outbox.c.id).where(outbox.c.ref == ref)) is not None

    async def put_all(
        self, connection: AsyncConnection, mails: Sequence[tuple[Mail, datetime]]
    ) -> int:
        """Store mails with their due times, skip known refs, and return how many were new."""
        if not mails:
            return 0
        now = wall.now()
        rows = [
            {
                **msgspec.structs.asdict(mail),
                "id": new_id(), "state": "pending", "attempts": 0,
                "created_at": now, "due_at": due_at, "reason": "",
                "give_up_at": due_at + self.lifetimes.of(mail.kind),
            }
            for mail, due_at in mails
        ]  # fmt: skip
        statement = insert_into(connection, outbox).on_conflict_do_nothing(index_elements=["ref"])
        added = await connection.execute(statement.returning(outbox.c.id), rows)
        return len(added.all())

    async def waiting(self, connection: AsyncConnection, kinds: Sequence[str]) -> int:
        """Return how many mails of these kinds are pending, so that their writer can wait."""
        pending = outbox.c.state == "pending"
        return await count(connection, outbox, pending, outbox.c.kind.in_(kinds))

    async def deliver(self) -> int:
        """Send due mails for up to TURN_SECONDS, and return how many were sent."""
        if not await self._has_due():
            return 0
        await self._recover()
        await self._drop()
        ends = monotonic() + TURN_SECONDS
        turns = [self._send_until(ends) for _ in range(self._senders)]
        sent = 0
        for done in await asyncio.gather(*turns, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            sent += done
        return sent

    async def _send_until(self, ends: float) -> int:
        sent = 0
        while monotonic() < ends:
            handed_over = await _to_the_end(self._send_next())
            if handed_over is None:
                break
            sent += handed_over
        return sent

    async def listed(self) -> list[SentMail]:
        """Return the newest mails, for the development page."""
        columns = [outbox.c[name] for name in SentMail.__struct_fields__]
        query = select(*columns).order_by(outbox.c.id.desc()).limit(_LISTED_MAX)
        async with self._database.read() as connection:
            return [SentMail(**row) for row in (await connection.execute(query)).mappings()]

    async def _has_due(self) -> bool:
        """Tell whether there is any mail to look at, in one query: usually there is none."""
        unfinished = outbox.c.state.in_(("pending", "sending"))
        query = select(outbox.c.id).where(unfinished, outbox.c.due_at <= wall.now()).limit(1)
        async with self._database.read() as connection:
            return await connection.scalar(query) is not None

    async def _send_next(self) -> bool | None:
        """Send one mail and store the outcome; return None if nothing is due."""
        claim = await self._claim()
        if claim is None:
            return None
        is_once = claim.mail.kind in ONCE
        try:
            await self._sender.send(claim.mail, f"<{claim.id}@{self._host}>")
        except MailRefused as error:
            await self._try_later(claim, str(error), for_good=error.for_good)
        except Exception as error:  # noqa: BLE001 - MailLost, or a bug: it holds up no other mail
            reason = str(error) if isinstance(error, MailLost) else repr(error)
            if is_once:
                await self._finish(claim, "unknown", reason)
            else:
                await self._try_later(claim, reason, for_good=False)
        else:
            await self._finish(claim, "sent", "")
            return True
        return False

    async def _claim(self) -> _Claim | None:
        now = wall.now()
        due = (
            select(outbox.c.id)
            .where(
                outbox.c.state == "pending",
                outbox.c.due_at <= now,
                ~_of_unsubscribed(),
                ~_is_stale(now),
            )
            .order_by(
                outbox.c.kind.in_(ONCE),
                outbox.c.kind.in_(QUIET),
                outbox.c.for_stranger,
                outbox.c.due_at,
            )
            .limit(1)
        )
        async with self._database.read() as connection:  # avoid the write lock if nothing is due
            if await connection.scalar(due) is None:
                return None
        next_one = due.with_for_update(skip_locked=True, of=outbox).scalar_subquery()
        async with self._database.write() as connection:
            claimed = await connection.execute(
                update(outbox)
                .where(outbox.c.id == next_one)
                .values(state="sending", attempts=outbox.c.attempts + 1, due_at=now + _LEASE)
                .returning(outbox)
            )
            row = claimed.one_or_none()
        if row is None:
            return None
        mail = msgspec.convert(row, Mail, from_attributes=True, strict=False)
        return _Claim(row.id, row.attempts, row.give_up_at, row.due_at, mail)

    async def _drop(self) -> None:
        """Mark due mails as failed that must not be sent: unsubscribed or expired."""
        now = wall.now()
        is_quiet = outbox.c.kind.in_(QUIET)
        expired = "its link expired before it could be sent"
        for condition, reason, values in (
            (_of_unsubscribed(), UNSUBSCRIBED, {}),
            (_is_stale(now) & ~is_quiet, expired, self._without_links()),
            (_is_stale(now) & is_quiet, TOO_OLD, self._without_links()),
        ):
            dropped = (outbox.c.state == "pending") & (outbox.c.due_at <= now) & condition
            await self._update(dropped, state="failed", reason=reason, due_at=now, **values)

    async def _recover(self) -> None:
        """Release mails whose process died while sending them."""
        overdue = (outbox.c.state == "sending") & (outbox.c.due_at < wall.now())
        state = case((outbox.c.kind.in_(ONCE), "unknown"), else_="pending")
        await self._update(overdue, state=state, reason="the process ended while sending it")

    async def _update(self, condition: ColumnElement[bool], **values: Any) -> None:
        """Update the mails that meet a condition; if there are none, avoid the write lock."""
        async with self._database.read() as connection:
            if await connection.scalar(select(outbox.c.id).where(condition).limit(1)) is None:
                return
        async with self._database.write() as connection:
            await connection.execute(update(outbox).where(condition).values(**values))

    async def _try_later(self, claim: _Claim, reason: str, *, for_good: bool) -> None:
        wait = min(_FIRST_WAIT * 2 ** min(claim.attempts - 1, 16), _LONGEST_WAIT)
        if for_good or wall.now() + wait > claim.give_up_at:
            log.error("mail given up", mail=claim.id, reason=reason)
            await self._finish(claim, "failed", reason)
        else:
            if claim.attempts == 1:  # once per mail, however often it is retried
                log.warning("mail not sent, will be retried", mail=claim.id, reason=reason)
            await self._finish(claim, "pending", reason, wait=wait)

    def _without_links(self) -> dict[str, Any]:
        """Return values that clear a finished mail, so that its links are not kept."""
        return {} if self._keep_text else {"text": "", "html": ""}

    async def _finish(
        self, claim: _Claim, state: str, reason: str, *, wait: timedelta = timedelta(0)
    ) -> None:
        now = wall.now()
        values: dict[str, Any] = {"state": state, "reason": reason, "due_at": now + wait}
        self.outcomes["retried" if state == "pending" else state] += 1
        if state == "sent":
            values["sent_at"] = now
        if state == "sent" or (state == "failed" and claim.mail.kind not in QUIET):
            values |= self._without_links()
        # after a pause longer than the lease, another process may have claimed the mail
        still_ours = (outbox.c.id == claim.id) & (outbox.c.due_at == claim.lease_ends_at)
        async with self._database.write() as connection:
            await connection.execute(update(outbox).where(still_ours).values(**values))


async def _to_the_end(work: Coroutine[Any, Any, bool | None]) -> bool | None:
    """Finish one mail even when the job is stopped in the middle of it; this takes seconds."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # a mail cut off here may have arrived: wait for the answer and keep it
        await asyncio.wait([task])
        raise


def _of_unsubscribed() -> ColumnElement[bool]:
    stopped = select(unsubscriptions.c.email).where(unsubscriptions.c.email == outbox.c.recipient)
    return outbox.c.kind.in_(ONCE) & stopped.exists()


def _is_stale(now: datetime) -> ColumnElement[bool]:
    return outbox.c.kind.not_in(ONCE) & (outbox.c.give_up_at <= now)
