"""Mails of notices: one to each owner of the organization who is told of that type.

A notice waits until its mails are in the outbox, written in the transaction that notes it, each
under a ref of its own. So a crash writes none twice, and only so many wait in the outbox that
nobody's sign-in waits for them.

Who raises and lowers a budget crosses it again each time. So an organization gets a limited number
of mails of a type a day, the last of which says so, and organizations take turns. Webhooks are sent
of all notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

import msgspec
import structlog
from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.alerts import wording
from gateway.control_plane.mail.messages import Mail, MailWriter, plain
from gateway.control_plane.mail.outbox import Outbox
from gateway.storage.database import Database
from gateway.storage.tables import alert_preferences, memberships, notices, organizations, users

log = structlog.get_logger()

BATCH = 50
OWNERS_MAX = 20
"""Most owners of an organization who are mailed: the oldest."""
PENDING_MAX = 2_000
"""Most mails of notices that wait in the outbox; further notices wait until these leave."""
MAILS_A_DAY = 30
"""Most mails of one type that an owner gets in 24 hours."""
TURN_SECONDS = 30.0

_DAY = timedelta(days=1)
_LAST = (
    f"This is the last of the {MAILS_A_DAY} emails like this that we send within 24 hours. The "
    "console shows the rest."
)


class NoticeMails:
    """Writes the mails of notices; `write` is a job."""

    def __init__(
        self, database: Database, outbox: Outbox, writer: MailWriter, *, public_url: str
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._writer = writer
        self._public_url = public_url

    async def write(self) -> int:
        """Write what is due, for up to TURN_SECONDS; return how many mails are new."""
        ends, written = monotonic() + TURN_SECONDS, 0
        while monotonic() < ends:
            async with self._database.read() as connection:
                due = await _due(connection)
                if not due or await self._outbox.waiting(connection, ("notice",)) >= PENDING_MAX:
                    break
                ours = {row.organization_id for row in due}
                owners = await _owners(connection, ours)
                mailed = await _mailed_lately(connection, ours)
            mails: list[Mail] = []
            told: list[str] = []
            for row in due:
                count = mailed.get((row.organization_id, row.type), 0)
                if row.type in (row.mails_off or "").split() or count >= MAILS_A_DAY:
                    continue
                mailed[row.organization_id, row.type] = count + 1
                told.append(row.id)
                is_last = count + 1 == MAILS_A_DAY
                mails += self._mails(row, owners.get(row.organization_id, ()), is_last=is_last)
            async with self._database.write() as connection:
                written += await self._note(connection, [row.id for row in due], told, mails)
        return written

    async def _note(
        self, connection: AsyncConnection, due: list[str], told: list[str], mails: list[Mail]
    ) -> int:
        """Store the mails of notices, and that nothing is due of them; return how many are new."""
        now = wall.now()
        new = await self._outbox.put_all(connection, [(mail, now) for mail in mails])
        await connection.execute(
            update(notices).where(notices.c.id.in_(due)).values(mail_due_at=None)
        )
        await connection.execute(
            update(notices).where(notices.c.id.in_(told)).values(mailed_at=now)
        )
        return new

    def _mails(
        self,
        notice: Row[*tuple[Any, ...]],
        owners: Sequence[Row[*tuple[Any, ...]]],
        *,
        is_last: bool,
    ) -> list[Mail]:
        """Return a notice's mails; none if it can't be put into words."""
        try:
            words = wording.of(notice.type, msgspec.json.decode(notice.data))
        except (KeyError, TypeError, ValueError) as error:
            log.error(
                "a notice has no words", notice=notice.id, type=notice.type, reason=str(error)
            )
            return []
        more = [_LAST] if is_last else []
        return [self._mail(notice, words, owner, more) for owner in owners]

    def _mail(
        self,
        notice: Row[*tuple[Any, ...]],
        words: wording.Wording,
        owner: Row[*tuple[Any, ...]],
        more: Sequence[str],
    ) -> Mail:
        return self._writer.write(
            "notice",
            ref=f"notice:{notice.id}:{owner.user_id}",
            recipient=owner.email,
            subject=words.subject,
            paragraphs=[words.happened, words.advice, *more],
            organization=plain(notice.name),
            label=words.label,
            url=self._public_url + words.path,
            preferences_url=f"{self._public_url}/console/alerts",
        )


async def _due(connection: AsyncConnection) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the next notices to mail: the first of each organization, then the second of each."""
    order = (notices.c.mail_due_at, notices.c.id)
    turn = func.row_number().over(partition_by=notices.c.organization_id, order_by=order)
    query = (
        select(
            notices.c.id,
            notices.c.organization_id,
            notices.c.type,
            notices.c.data,
            organizations.c.name,
            alert_preferences.c.mails_off,
        )
        .join(organizations, organizations.c.id == notices.c.organization_id)
        .outerjoin(
            alert_preferences, alert_preferences.c.organization_id == notices.c.organization_id
        )
        .where(notices.c.mail_due_at <= wall.now())
        .order_by(turn, *order)
        .limit(BATCH)
    )
    return (await connection.execute(query)).all()


async def _mailed_lately(
    connection: AsyncConnection, organization_ids: set[str]
) -> dict[tuple[str, str], int]:
    """Return how many notices were mailed in the last 24 hours, by organization and type."""
    query = (
        select(notices.c.organization_id, notices.c.type, func.count())
        .where(
            notices.c.organization_id.in_(organization_ids),
            notices.c.mailed_at > wall.now() - _DAY,
        )
        .group_by(notices.c.organization_id, notices.c.type)
    )
    rows = await connection.execute(query)
    return {(organization_id, kind): count for organization_id, kind, count in rows}


async def _owners(
    connection: AsyncConnection, organization_ids: set[str]
) -> dict[str, list[Row[*tuple[Any, ...]]]]:
    """Return the owners who are mailed, by organization."""
    query = (
        select(memberships.c.organization_id, memberships.c.user_id, users.c.email)
        .join(users, users.c.id == memberships.c.user_id)
        .where(
            memberships.c.organization_id.in_(organization_ids),
            memberships.c.role == "owner",
            users.c.email.is_not(None),
        )
        .order_by(memberships.c.created_at)
    )
    found: dict[str, list[Row[*tuple[Any, ...]]]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.organization_id, []).append(row)
    return {organization: some[:OWNERS_MAX] for organization, some in found.items()}
