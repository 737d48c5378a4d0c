"""How late mails are, for the metrics: how long ago the oldest unsent one was first due.

A retry moves a mail's due time, so the first one is computed from the time at which it is given up,
which stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import func, select

from gateway import wall
from gateway.control_plane.mail.outbox import ONCE, QUIET, Lifetimes
from gateway.storage.database import Database
from gateway.storage.tables import outbox

MailKind = Literal["link", "notice", "launch"]
"""Someone waits for an email with a link."""
KINDS: tuple[MailKind, ...] = get_args(MailKind)


class MailWaits:
    """Measures; `measure` is a job."""

    def __init__(self, database: Database, lifetimes: Lifetimes) -> None:
        self.due_seconds: Mapping[MailKind, float] = dict.fromkeys(KINDS, 0.0)
        self.mails: Mapping[MailKind, int] = dict.fromkeys(KINDS, 0)
        """How many have not been sent, whether they are due or not."""
        self._database = database
        self._lifetimes = lifetimes

    async def measure(self) -> None:
        """Read the outbox."""
        query = (
            select(outbox.c.kind, func.count(), func.min(outbox.c.give_up_at))
            .where(outbox.c.state.in_(("pending", "sending")))
            .group_by(outbox.c.kind)
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).all()
        now = wall.now()
        seconds, mails = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
        for kind, count, given_up in found:
            place = _kind(kind)
            mails[place] += count
            if given_up is not None:
                first_due = _moment(given_up) - self._lifetimes.of(kind)
                seconds[place] = max(seconds[place], (now - first_due).total_seconds())
        self.due_seconds, self.mails = seconds, mails


def _kind(kind: str) -> MailKind:
    if kind in ONCE:
        return "launch"
    return "notice" if kind in QUIET else "link"


def _moment(value: datetime | str) -> datetime:
    """Return a moment that an aggregate gives: as text, in SQLite."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
