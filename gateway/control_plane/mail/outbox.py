"""The outbox: mails that were decided on, in the same transaction as what they are about.

- A `ref` is unique, so nothing is written twice.
- One mail at a time is marked as being sent, and then handed over at once; a turn that is stopped
  finishes with that one, so none is left in between. When the process dies there, nobody knows
  whether the mail went: a launch mail is then left alone (`unknown`), so that nobody ever gets it
  twice; a link that somebody waits for is tried again, since two links do no harm.
- What somebody asked for goes first, and only it counts against what may wait for it: a launch
  keeps nobody from signing in.
- Tries are bounded by time, and the wait between them doubles up to an hour: a link is tried while
  it can be used, a launch mail for days, since its reader waits for nothing.
- Who unsubscribed is asked when a mail leaves, not when it was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.mail.smtp import MailLost, MailRefused, Sender
from gateway.errors import Unavailable
from gateway.identifiers import new_id
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import outbox, unsubscriptions

log = structlog.get_logger()

ONCE = ("launch",)
"""Kinds of which a second copy is worse than none; nobody waits for them."""
UNSUBSCRIBED = "unsubscribed before it left"
TURN_SECONDS = 30.0
"""How long a run goes on to the next mail; with the last one's time it ends before a job must."""

_LEASE = timedelta(minutes=5)
_FIRST_WAIT = timedelta(seconds=15)
_LONGEST_WAIT = timedelta(hours=1)
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


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long mails are tried before they are given up."""

    link_seconds: float
    """As long as the links in them live."""
    invitation_seconds: float
    """Those whose links wait for somebody's decision."""
    once_seconds: float
    """Those that are sent once, from when they were due."""

    def of(self, kind: str) -> timedelta:
        """Return how long a mail is tried."""
        if kind in ONCE:
            return timedelta(seconds=self.once_seconds)
        is_link = kind == "sign_in"
        return timedelta(seconds=self.link_seconds if is_link else self.invitation_seconds)


class _Claim(NamedTuple):
    """A mail that is being sent, by us, until the lease ends."""

    id: str
    attempts: int
    give_up_at: datetime
    lease_ends_at: datetime
    mail: Mail


class Outbox:
    """Takes mails on, and sends them; `deliver` is a job."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        pending_max: int,
        lifetimes: Lifetimes,
        host: str,
        keep_text: bool = False,
    ) -> None:
        self._database = database
        self._sender = sender
        self._pending_max = pending_max
        self._lifetimes = lifetimes
        self._host = host
        self._keep_text = keep_text

    async def put(self, connection: AsyncConnection, mail: Mail) -> None:
        """Take on a mail somebody waits for, with the caller's transaction. Raises OutboxFull."""
        waiting = await connection.scalar(
            select(func.count())
            .select_from(outbox)
            .where(outbox.c.state == "pending", outbox.c.kind.not_in(ONCE))
        )
        if (waiting or 0) >= self._pending_max:
            raise OutboxFull("Too many mails wait to be sent. Try again in a few minutes.")
        await self.put_all(connection, [(mail, datetime.now(UTC))])

    async def holds(self, connection: AsyncConnection, ref: str) -> bool:
        """Tell whether a mail was taken on."""
        return await connection.scalar(select(outbox.c.id).where(outbox.c.ref == ref)) is not None

    async def put_all(
        self, connection: AsyncConnection, mails: Sequence[tuple[Mail, datetime]]
    ) -> int:
        """Take on mails, each with its time, and return how many are new; others stay as is."""
        if not mails:
            return 0
        now = datetime.now(UTC)
        rows = [
            {
                **msgspec.structs.asdict(mail),
                "id": new_id(), "state": "pending", "attempts": 0,
                "created_at": now, "due_at": due_at, "reason": "",
                "give_up_at": self._give_up_at(mail.kind, due_at),
            }
            for mail, due_at in mails
        ]  # fmt: skip
        statement = insert_into(connection, outbox).on_conflict_do_nothing(index_elements=["ref"])
        added = await connection.execute(statement.returning(outbox.c.id), rows)
        return len(added.all())

    async def waiting_once(self, connection: AsyncConnection) -> int:
        """Return how many mails wait that nobody waits for: their writer keeps a bound."""
        waiting = (outbox.c.state == "pending") & outbox.c.kind.in_(ONCE)
        found = select(func.count()).select_from(outbox).where(waiting)
        return await connection.scalar(found) or 0

    async def deliver(self) -> int:
        """Send what is due, for a turn at most, and return how many were handed over."""
        await self._recover()
        await self._drop()
        ends = monotonic() + TURN_SECONDS
        sent = 0
        while monotonic() < ends:
            handed_over = await _to_the_end(self._send_next())
            if handed_over is None:
                break
            sent += handed_over
        return sent

    async def listed(self) -> list[SentMail]:
        """Return the newest mails, for the page of development."""
        columns = [outbox.c[name] for name in SentMail.__struct_fields__]
        query = select(*columns).order_by(outbox.c.id.desc()).limit(_LISTED_MAX)
        async with self._database.read() as connection:
            return [SentMail(**row) for row in (await connection.execute(query)).mappings()]

    async def _send_next(self) -> bool | None:
        """Send one mail and write down what came of it; None: nothing is due."""
        claim = await self._claim()
        if claim is None:
            return None
        is_once = claim.mail.kind in ONCE
        try:
            await self._sender.send(claim.mail, f"<{claim.id}@{self._host}>")
        except MailRefused as error:
            await self._try_later(claim, str(error), for_good=error.for_good)
        except MailLost as error:
            if is_once:
                await self._finish(claim, "unknown", str(error))
            else:
                await self._try_later(claim, str(error), for_good=False)
        else:
            await self._finish(claim, "sent", "")
            return True
        return False

    async def _claim(self) -> _Claim | None:
        now = datetime.now(UTC)
        due = (
            select(outbox.c.id)
            .where(
                outbox.c.state == "pending",
                outbox.c.due_at <= now,
                ~_of_unsubscribed(),
                ~_is_stale(now),
            )
            .order_by(outbox.c.kind.in_(ONCE), outbox.c.due_at)
            .limit(1)
        )
        async with self._database.read() as connection:  # don't take the write lock for nothing
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
        mail = msgspec.convert(row, Mail, from_attributes=True)
        # rows of an earlier version don't say until when they are tried
        give_up_at = row.give_up_at or self._give_up_at(mail.kind, row.created_at)
        return _Claim(row.id, row.attempts, give_up_at, row.due_at, mail)

    def _give_up_at(self, kind: str, due_at: datetime) -> datetime:
        return due_at + self._lifetimes.of(kind)

    async def _drop(self) -> None:
        """Give up what is due and not to be sent any more; it is not claimed in any case."""
        now = datetime.now(UTC)
        stale = "its link had expired before it could be sent"
        for condition, reason, values in (
            (_of_unsubscribed(), UNSUBSCRIBED, {}),
            (_is_stale(now), stale, self._without_links()),
        ):
            dropped = (outbox.c.state == "pending") & (outbox.c.due_at <= now) & condition
            async with self._database.read() as connection:
                if await connection.scalar(select(outbox.c.id).where(dropped).limit(1)) is None:
                    continue
            async with self._database.write() as connection:
                values |= {"state": "failed", "reason": reason, "due_at": now}
                await connection.execute(update(outbox).where(dropped).values(**values))

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

    async def _try_later(self, claim: _Claim, reason: str, *, for_good: bool) -> None:
        wait = min(_FIRST_WAIT * 2 ** min(claim.attempts - 1, 16), _LONGEST_WAIT)
        if for_good or datetime.now(UTC) + wait > claim.give_up_at:
            log.error("mail given up", mail=claim.id, reason=reason)
            await self._finish(claim, "failed", reason)
        else:
            if claim.attempts == 1:  # said once for each mail, however often it is tried
                log.warning("mail not sent, to be tried again", mail=claim.id, reason=reason)
            await self._finish(claim, "pending", reason, wait=wait)

    def _without_links(self) -> dict[str, Any]:
        """Empty a mail that is over with: the links in it are nobody's business later."""
        return {} if self._keep_text else {"text": "", "html": ""}

    async def _finish(
        self, claim: _Claim, state: str, reason: str, *, wait: timedelta = timedelta(0)
    ) -> None:
        now = datetime.now(UTC)
        values: dict[str, Any] = {"state": state, "reason": reason, "due_at": now + wait}
        if state == "sent":
            values["sent_at"] = now
        if state == "sent" or (state == "failed" and claim.mail.kind not in ONCE):
            values |= self._without_links()
        # after a pause longer than the lease the mail may be somebody else's by now
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
    # rows of an earlier version don't say so; they are looked at once they are tried
    over = outbox.c.give_up_at.is_not(None) & (outbox.c.give_up_at <= now)
    return outbox.c.kind.not_in(ONCE) & over
