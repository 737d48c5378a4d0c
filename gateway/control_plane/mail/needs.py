"""What needs an operator about mail: mails that failed lately, and mails that are late."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import Need, Step, tells
from gateway.control_plane.mail.outbox import UNSUBSCRIBED
from gateway.storage.tables import outbox

_LATELY = timedelta(days=3)
"""How long a mail that failed is listed."""
_LATE = timedelta(minutes=15)
"""A mail that has been due for this long is late."""
_COUNTED_MAX = 1_000


@tells(f"A mail failed within {_LATELY.days} days.")
async def failed(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Count the mails that were given up."""
    lost = (
        outbox.c.state.in_(("failed", "unknown")),
        outbox.c.due_at > now - _LATELY,
        outbox.c.reason != UNSUBSCRIBED,
    )
    some = select(outbox.c.due_at).where(*lost).limit(_COUNTED_MAX).subquery()
    count, oldest = (await connection.execute(select(func.count(), func.min(some.c.due_at)))).one()
    if not count:
        return []
    many = "1,000 or more mails" if count == _COUNTED_MAX else f"{count:,} mails"
    return [
        Need(
            key="mail-failed",
            severity="warning",
            subject="Mail",
            words=f"{many if count > 1 else '1 mail'} of the last {_LATELY.days} days failed",
            since=_moment(oldest),
            steps=(Step("Open mail", "/admin/mail?state=failed"),),
        )
    ]


@tells(f"A mail is due for {_LATE // timedelta(minutes=1)} minutes, and has not left.")
async def late(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Count the mails that should have been sent by now."""
    waiting = (outbox.c.state == "pending", outbox.c.due_at < now - _LATE)
    some = select(outbox.c.due_at).where(*waiting).limit(_COUNTED_MAX).subquery()
    count, oldest = (await connection.execute(select(func.count(), func.min(some.c.due_at)))).one()
    if not count:
        return []
    return [
        Need(
            key="mail-late",
            severity="critical",
            subject="Mail",
            words=f"{count:,} mail{'s' if count > 1 else ''} should have left by now",
            since=_moment(oldest),
            steps=(Step("Open mail", "/admin/mail?state=pending"),),
        )
    ]


def _moment(value: datetime | str) -> datetime:
    """Return a moment that an aggregate gives: as text, in SQLite."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
