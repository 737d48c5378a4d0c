"""Mails of notices: one to each owner of the organization who is told of that type.

A notice waits until its mails are in the outbox, written in the transaction that notes it, each
under a ref of its own. So a crash writes none twice, and only so many wait in the outbox that
nobody's sign-in waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec
import structlog
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

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
TURN_SECONDS = 30.0


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
                waiting = await self._outbox.waiting(connection, ("notice",))
                due = await _due(connection) if waiting < PENDING_MAX else []
                owners = await _owners(connection, {row.organization_id for row in due})
            if not due:
                break
            mails = [
                mail for row in due for mail in self._mails(row, owners.get(row.organization_id))
            ]
            now = datetime.now(UTC)
            async with self._database.write() as connection:
                written += await self._outbox.put_all(connection, [(mail, now) for mail in mails])
                ids = [row.id for row in due]
                await connection.execute(
                    update(notices).where(notices.c.id.in_(ids)).values(mail_due_at=None)
                )
        return written

    def _mails(
        self, notice: Row[*tuple[Any, ...]], owners: Sequence[Row[*tuple[Any, ...]]] | None
    ) -> list[Mail]:
        """Return a notice's mails; none if its type is off, or it can't be put into words."""
        if notice.type in (notice.mails_off or "").split():
            return []
        try:
            words = wording.of(notice.type, msgspec.json.decode(notice.data))
        except (KeyError, TypeError, ValueError) as error:
            log.error(
                "a notice has no words", notice=notice.id, type=notice.type, reason=str(error)
            )
            return []
        return [self._mail(notice, words, owner) for owner in owners or ()]

    def _mail(
        self, notice: Row[*tuple[Any, ...]], words: wording.Wording, owner: Row[*tuple[Any, ...]]
    ) -> Mail:
        return self._writer.write(
            "notice",
            ref=f"notice:{notice.id}:{owner.user_id}",
            recipient=owner.email,
            subject=words.subject,
            paragraphs=[words.happened, words.advice],
            organization=plain(notice.name),
            label=words.label,
            url=self._public_url + words.path,
            preferences_url=f"{self._public_url}/console/alerts",
        )


async def _due(connection: AsyncConnection) -> Sequence[Row[*tuple[Any, ...]]]:
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
        .where(notices.c.mail_due_at <= datetime.now(UTC))
        .order_by(notices.c.mail_due_at, notices.c.id)
        .limit(BATCH)
    )
    return (await connection.execute(query)).all()


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
